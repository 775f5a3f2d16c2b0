//! Shifts and the complement, of integers in 64 bits. OPA's have no limit: beyond it there is
//! no answer here.

use regorus::Value;

use super::{Caches, Context};
use crate::machine::Fault;

/// `bits.lsh(number, by)`.
pub(super) fn left(args: &[Value], context: &mut Context, _: &mut Caches) -> Value {
    let [Value::Number(number), Value::Number(by)] = args else { return Value::Undefined };
    let (Some(number), Some(by)) = (number.as_i64(), by.as_i64()) else {
        return context.fail(Fault::Failed);
    };
    if by < 0 {
        return Value::Undefined;
    }
    let factor = u32::try_from(by).ok().and_then(|by| 1_i64.checked_shl(by));
    let shifted = factor.filter(|factor| *factor > 0).and_then(|one| number.checked_mul(one));
    shifted.map_or_else(|| context.fail(Fault::Failed), Value::from)
}

/// `bits.rsh(number, by)`.
pub(super) fn right(args: &[Value], context: &mut Context, _: &mut Caches) -> Value {
    let [Value::Number(number), Value::Number(by)] = args else { return Value::Undefined };
    let (Some(number), Some(by)) = (number.as_i64(), by.as_i64()) else {
        return context.fail(Fault::Failed);
    };
    match u32::try_from(by) {
        _ if by < 0 => Value::Undefined,
        Ok(by @ 0..64) => Value::from(number.wrapping_shr(by)),
        _ => Value::from(if number < 0 { -1 } else { 0 }),
    }
}

pub(super) fn negate(args: &[Value], context: &mut Context, _: &mut Caches) -> Value {
    let [Value::Number(number)] = args else { return Value::Undefined };
    number.as_i64().map_or_else(|| context.fail(Fault::Failed), |number| Value::from(!number))
}
