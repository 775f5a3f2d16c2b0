//! `units.parse` and `units.parse_bytes`: amounts with a unit, computed in decimal.
//!
//! Invariant: an amount is whole where it is one, and otherwise the float next to it.

use regorus::Value;

use super::{Caches, Context, text};
use crate::machine::Fault;

/// A decimal number: digits, and how many of them are behind the point.
struct Decimal {
    digits: i128,
    scale: u32,
}

impl Decimal {
    fn parse(text: &str) -> Option<Self> {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
        let text = if negative { text } else { text.strip_prefix('+').unwrap_or(text) };
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = [whole, fraction].concat();
        let plain = !all.is_empty() && all.len() <= 24;
        if !plain || !all.bytes().all(|byte| byte.is_ascii_digit()) || exponent.len() > 2 {
            return None;
        }
        let digits: i128 = all.parse().ok()?;
        let exponent: u32 = exponent.parse().ok()?;
        let scale = u32::try_from(fraction.len()).ok()?;
        let digits = digits.checked_mul(10_i128.checked_pow(exponent.saturating_sub(scale))?)?;
        let digits = if negative { digits.checked_neg()? } else { digits };
        Some(Self { digits, scale: scale.saturating_sub(exponent) })
    }

    fn times(self, factor: i128) -> Option<Self> {
        Some(Self { digits: self.digits.checked_mul(factor)?, ..self })
    }

    fn whole(&self) -> Option<i128> {
        self.digits.checked_div(10_i128.checked_pow(self.scale)?)
    }

    fn value(&self) -> Option<Value> {
        let unit = 10_i128.checked_pow(self.scale)?;
        if self.digits.checked_rem(unit)? == 0 {
            return i64::try_from(self.whole()?).ok().map(Value::from);
        }
        format!("{}e-{}", self.digits, self.scale).parse::<f64>().ok().map(Value::from)
    }
}

/// The number and the unit. The number ends behind an exponent, if one follows.
fn parts(text: &str) -> Option<(&str, &str)> {
    let number = |c: char| c.is_ascii_digit() || ['.', '-', '+'].contains(&c);
    let end = text.find(|c| !number(c)).unwrap_or(text.len());
    let (_, rest) = text.split_at_checked(end)?;
    let exponent = rest
        .strip_prefix(['e', 'E'])
        .map(|rest| rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
    let more = exponent.filter(|digits| *digits > 0).map_or(0, |digits| digits.saturating_add(1));
    text.split_at_checked(end.checked_add(more)?)
}

/// Bytes and amounts are the same, but for the names of units and what is behind the point.
pub(super) fn parse(args: &[Value], context: &mut Context, _: &mut Caches) -> Value {
    let milli = |amount: Decimal| Some(Decimal { scale: amount.scale.checked_add(3)?, ..amount });
    computed(args, context, |amount, unit| {
        // `M` is a million and `m` a thousandth; of all others case does not matter.
        let amount = match unit {
            "m" => milli(amount)?,
            "Mi" | "mi" | "MI" | "mI" => amount.times(1 << 20)?,
            "M" => amount.times(1_000_000)?,
            _ => amount.times(factor(&unit.to_ascii_lowercase())?)?,
        };
        Some(amount.value())
    })
}

pub(super) fn parse_bytes(args: &[Value], context: &mut Context, _: &mut Caches) -> Value {
    computed(args, context, |amount, unit| {
        let unit = unit.to_ascii_lowercase();
        let unit = unit.strip_suffix('b').filter(|unit| !unit.is_empty()).unwrap_or(&unit);
        let factor = match unit {
            "m" => 1_000_000,
            "mi" => 1 << 20,
            _ => factor(unit)?,
        };
        let whole = amount.times(factor)?.whole();
        Some(whole.and_then(|whole| i64::try_from(whole).ok()).map(Value::from))
    })
}

fn factor(unit: &str) -> Option<i128> {
    Some(match unit {
        "" => 1,
        "k" => 1_000,
        "g" => 1_000_000_000,
        "t" => 1_000_000_000_000,
        "p" => 1_000_000_000_000_000,
        "e" => 1_000_000_000_000_000_000,
        "ki" => 1 << 10,
        "gi" => 1 << 30,
        "ti" => 1 << 40,
        "pi" => 1 << 50,
        "ei" => 1 << 60,
        _ => return None,
    })
}

/// Undefined without a known unit; a number that is not plain, or too large, has no answer.
fn computed(
    args: &[Value],
    context: &mut Context,
    with: impl FnOnce(Decimal, &str) -> Option<Option<Value>>,
) -> Value {
    let [arg] = args else { return Value::Undefined };
    let Some(text) = text(arg) else { return Value::Undefined };
    let text = text.replace('"', "");
    let Some((number, unit)) = parts(&text).filter(|_| !text.contains(' ')) else {
        return Value::Undefined;
    };
    if number.is_empty() {
        return Value::Undefined;
    }
    // An exponent with a sign is not a unit.
    let amount = Decimal::parse(number).filter(|_| !unit.contains(['-', '+']));
    let Some(amount) = amount else { return context.fail(Fault::Failed) };
    match with(amount, unit) {
        None => Value::Undefined,
        Some(None) => context.fail(Fault::Failed),
        Some(Some(value)) => value,
    }
}
