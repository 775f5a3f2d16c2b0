//! `postern credential`: values go in and never come out.
//!
//! Invariant: the value is read after the service's evidence was appraised, from stdin or
//! a prompt that does not echo, and leaves this process only sealed.

use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

use postern_core::binding::{Binding, Payload, SignatureMethod, Signing, SiteWire, Style, Wire};
use postern_core::secret::Secret;
use postern_core::time::UnixMillis;
use postern_crp::Identity;
use postern_crp::message::{Answer, Message, store};
use postern_keys::admin::InVault;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::failure::{Failure, Outcome, Sort};
use crate::operator::{Operator, OperatorArgs};
use crate::output::{Output, table};
use crate::service::Sender;
use crate::span;

/// Largest value.
const MAX_VALUE: u64 = 16 << 10;
/// Most fields.
const MAX_FIELDS: usize = 16;
/// Largest binding file.
const MAX_FILE: usize = 64 << 10;

/// Credentials.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Store a value, read from stdin or a prompt, sealed to the attested key service.
    Put(Box<PutArgs>),
    /// List names, versions and bindings; never a value.
    List(ListArgs),
    /// Delete a credential with all its versions.
    Delete(DeleteArgs),
}

/// Store a value.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern credential put slack --authority slack.com --method GET --method POST \\
      --path '/api/**' --header Authorization --style bearer < slack-token
  pass show billing | postern credential put billing --binding billing.yaml
  postern credential put slack --binding slack.yaml --replace
  postern credential put bank --binding bank.yaml --approval writes --require-passkey < token
  cat id-and-secret | postern credential put store --authority s3.eu-west-1.amazonaws.com \\
      --method GET,PUT --path '/reports/**' --style sigv4 --region eu-west-1 --service s3 \\
      --field access_key_id --field secret_access_key
  postern credential put stripe --binding stripe.yaml --from vault:main/payments/stripe#api_key

With --from the value stays in a vault of the key service's keys.yaml, which reads it when it is
released; PATH is counted from this tenant's folder there. Nothing is read from stdin.

Values of several fields are read one from each line of stdin, in the order of --field. Style
sigv4 takes access_key_id, secret_access_key and for temporary ones session_token; style oauth1
takes consumer_key, consumer_secret, and token and token_secret where there is a token.

A binding file is one binding, or a list of them, as in the modules' configurations.")]
pub struct PutArgs {
    #[command(flatten)]
    operator: OperatorArgs,
    /// Name by which callers refer to it.
    name: String,
    /// File with the binding or bindings (YAML or JSON).
    #[arg(long, value_name = "FILE", conflicts_with_all = ["authority", "method", "path", "header", "style", "template", "region", "service", "payload", "signature_method", "realm"])]
    binding: Option<PathBuf>,
    /// The one upstream it may go to: host or host:port.
    #[arg(long, required_unless_present = "binding")]
    authority: Option<String>,
    /// Methods that may carry it.
    #[arg(long, value_delimiter = ',', required_unless_present = "binding")]
    method: Vec<String>,
    /// Paths: exact, or a prefix that ends in /**.
    #[arg(long, required_unless_present = "binding")]
    path: Vec<String>,
    /// Header field it stands in; a signature stands in Authorization.
    #[arg(long, default_value = "authorization")]
    header: String,
    /// How it is written there.
    #[arg(long, value_enum, default_value = "bearer")]
    style: StyleArg,
    /// Text with one {} for the value (style template; the other half for Basic).
    #[arg(long)]
    template: Option<String>,
    /// Region of the service (style sigv4).
    #[arg(long, required_if_eq("style", "sigv4"))]
    region: Option<String>,
    /// Name the service signs under, such as s3 (style sigv4).
    #[arg(long, required_if_eq("style", "sigv4"))]
    service: Option<String>,
    /// Whether the signature has to cover the content (style sigv4).
    #[arg(long, value_enum)]
    payload: Option<PayloadArg>,
    /// Hash of the signature (style oauth1; hmac-sha1 when absent).
    #[arg(long, value_enum)]
    signature_method: Option<MethodArg>,
    /// Realm of the protected resource (style oauth1).
    #[arg(long)]
    realm: Option<String>,
    /// Field of a credential of several values; one line of stdin, or one prompt, for each.
    #[arg(long, value_name = "NAME")]
    field: Vec<String>,
    /// Leave the value where it is, as vault:NAME/PATH#FIELD; one for each --field, in their order.
    #[arg(long, value_name = "PLACE")]
    from: Vec<String>,
    /// For people.
    #[arg(long, default_value = "")]
    description: String,
    /// The value is no good after this long, such as 90d.
    #[arg(long, value_parser = span::parse)]
    expires: Option<std::time::Duration>,
    /// Releases that need a person's approval, whatever the gateway's policy says: those for
    /// anything but GET, HEAD and OPTIONS, or every one. Default: what a credential that is
    /// replaced has, else none.
    #[arg(long, value_enum)]
    approval: Option<ApprovalArg>,
    /// Only a passkey approves them (with --approval).
    #[arg(long)]
    require_passkey: bool,
    /// How many people have to approve one (with --approval).
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u8).range(1..=5))]
    approvers: u8,
    /// Replace the stored version, if there is one.
    #[arg(long)]
    replace: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ApprovalArg {
    None,
    Writes,
    #[value(name = "every_release")]
    EveryRelease,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum StyleArg {
    Bearer,
    #[value(name = "basic_user")]
    BasicUser,
    #[value(name = "basic_password")]
    BasicPassword,
    Template,
    Sigv4,
    Oauth1,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum PayloadArg {
    Signed,
    Unsigned,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum MethodArg {
    #[value(name = "hmac-sha1")]
    HmacSha1,
    #[value(name = "hmac-sha256")]
    HmacSha256,
}

/// List credentials.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern credential list --json")]
pub struct ListArgs {
    #[command(flatten)]
    operator: OperatorArgs,
}

/// Delete a credential.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern credential delete slack")]
pub struct DeleteArgs {
    #[command(flatten)]
    operator: OperatorArgs,
    /// Its name.
    name: String,
}

/// Runs `credential put`, `list` or `delete`.
pub fn run(command: Command, out: Output) -> Outcome {
    match command {
        Command::Put(args) => put(&args, out),
        Command::List(args) => list(&args, out),
        Command::Delete(args) => delete(&args, out),
    }
}

fn put(args: &PutArgs, out: Output) -> Outcome {
    let operator = Operator::load(&args.operator)?;
    let names = field_names(&args.field)?;
    let guard = guard(args)?;
    let bindings = bindings(args, &operator.tenant)?;
    let service = operator.service()?;
    let guard = match guard {
        Some(guard) => guard,
        None if args.replace => kept(&stored(&operator)?, &args.name)?,
        None => NO_GUARD,
    };
    if !args.from.is_empty() {
        return leave(args, &operator, Kept { names, bindings, guard }, out);
    }
    let progress = out.progress("verifying the key service");
    let evidence = service.evidence()?;
    drop(progress);
    if operator.endpoint.simulated.is_some() {
        out.note("warning: SIMULATED evidence: no hardware stands behind this key service");
    }
    let request = store::Request {
        credential: args.name.clone(),
        description: args.description.clone(),
        expected: if args.replace { store::Expected::Any } else { store::Expected::Absent },
        not_after: args.expires.map(|span| span::now().after(span)),
        fields: read_fields(&args.name, names)?,
        bindings,
        guard,
        minted: None,
    };
    let identity = Identity::from_seed(&operator.seed).or_environment("operator.json")?;
    let sender = Sender { identity: &identity, id: operator.id, tenant: &operator.tenant };
    match service.exchange(&evidence, &sender, &Message::Store(request))? {
        Answer::Store(answer) => {
            let (name, version) = (&args.name, answer.version);
            let document =
                json!({"credential": name, "version": version, "tenant": operator.tenant});
            out.result(&document, &format!("stored {name}, version {version}, sealed"))
        }
        _ => Err(Failure::bug("the reply opened as another type")),
    }
}

/// What is stored with a value that stays in a vault.
struct Kept {
    names: Vec<String>,
    bindings: Vec<store::Binding>,
    guard: store::Guard,
}

/// Says where the value is. No secret is sent, so nobody's evidence is asked for.
fn leave(args: &PutArgs, operator: &Operator, kept: Kept, out: Output) -> Outcome {
    let Kept { names, bindings, guard } = kept;
    if names.len() != args.from.len() {
        return Err(Failure::usage("expected one --from, and one for each --field"));
    }
    let json = |binding: &store::Binding| serde_json::from_slice(binding.json()).or_bug("binding");
    let new = InVault {
        name: args.name.clone(),
        description: args.description.clone(),
        from: names.into_iter().zip(args.from.iter().cloned()).collect(),
        bindings: bindings.iter().map(json).collect::<Outcome<_>>()?,
        replace: args.replace,
        not_after: args.expires.map(|span| span::now().after(span).0),
        approval: guard.approval.name().to_owned(),
        require_passkey: guard.passkey,
        approvers: guard.approvers,
    };
    let content = serde_json::to_value(new).or_bug("credential")?;
    let path = "/api/v1/credentials";
    let stored = operator.service()?.signed(operator, "POST", path, Some(&content))?;
    let (name, version) = (&args.name, &stored["version"]);
    let text =
        format!("stored {name}, version {version}; its value stays in {}", args.from.join(", "));
    out.result(&stored, &text)
}

const NO_GUARD: store::Guard =
    store::Guard { approval: store::Needed::None, passkey: false, approvers: 1 };

/// What releases need besides a binding, where the flags say it.
fn guard(args: &PutArgs) -> Outcome<Option<store::Guard>> {
    let approval = match args.approval {
        None | Some(ApprovalArg::None) => store::Needed::None,
        Some(ApprovalArg::Writes) => store::Needed::Writes,
        Some(ApprovalArg::EveryRelease) => store::Needed::EveryRelease,
    };
    if approval == store::Needed::None && (args.require_passkey || args.approvers > 1) {
        let expected = "--require-passkey and --approvers need --approval writes or every_release";
        return Err(Failure::usage(expected));
    }
    let guard = store::Guard { approval, passkey: args.require_passkey, approvers: args.approvers };
    Ok(args.approval.map(|_| guard))
}

/// What releases of `name` need now: another value changes none of it.
fn kept(stored: &Value, name: &str) -> Outcome<store::Guard> {
    let all = stored.get("credentials").and_then(Value::as_array);
    let Some(found) = all.into_iter().flatten().find(|one| one["name"] == *name) else {
        return Ok(NO_GUARD);
    };
    let unknown = || {
        Failure::environment(
            "the key service says something else than this program knows of approvals",
        )
    };
    let class = found.get("approval").and_then(Value::as_str);
    let needed = [store::Needed::None, store::Needed::Writes, store::Needed::EveryRelease];
    let approval = needed.into_iter().find(|one| Some(one.name()) == class).ok_or_else(unknown)?;
    let passkey = found.get("require_passkey").and_then(Value::as_bool).ok_or_else(unknown)?;
    let approvers = found.get("approvers").and_then(Value::as_u64);
    let approvers = approvers.and_then(|count| u8::try_from(count).ok()).ok_or_else(unknown)?;
    Ok(store::Guard { approval, passkey, approvers })
}

fn stored(operator: &Operator) -> Outcome<Value> {
    operator.service()?.signed(operator, "GET", "/api/v1/credentials", None)
}

/// The bindings of a file or of the flags, checked by the same code that the modules run.
fn bindings(args: &PutArgs, tenant: &str) -> Outcome<Vec<store::Binding>> {
    let mut wires = match &args.binding {
        Some(path) => read_bindings(path)?,
        None => vec![of_flags(args)],
    };
    for wire in &mut wires {
        wire.credential.get_or_insert_with(|| args.name.clone());
        wire.tenant.get_or_insert_with(|| tenant.to_owned());
    }
    wires.into_iter().map(|wire| checked(wire, args, tenant)).collect()
}

fn checked(wire: Wire, args: &PutArgs, tenant: &str) -> Outcome<store::Binding> {
    let name = args.name.as_str();
    let binding = Binding::try_from(wire).or_usage("binding")?;
    if binding.credential().as_str() != name || binding.tenant() != tenant {
        return Err(Failure::usage(format_args!(
            "binding: expected credential {name:?} of tenant {tenant:?}"
        )));
    }
    let needed = binding.site().signing().map_or(&[][..], Signing::fields);
    if let Some(missing) = needed.iter().find(|name| !args.field.iter().any(|has| has == *name)) {
        return Err(Failure::usage(format_args!("a signature needs --field {missing}")));
    }
    Ok(store::Binding::new(binding.canonical()))
}

fn of_flags(args: &PutArgs) -> Wire {
    let style = match args.style {
        StyleArg::Bearer => Style::Bearer,
        StyleArg::BasicUser => Style::BasicUser,
        StyleArg::BasicPassword => Style::BasicPassword,
        StyleArg::Template => Style::Template,
        StyleArg::Sigv4 => Style::SigV4,
        StyleArg::Oauth1 => Style::OAuth1,
    };
    let site = SiteWire {
        header: Some(args.header.clone()),
        style: Some(style),
        template: args.template.clone(),
        region: args.region.clone(),
        service: args.service.clone(),
        payload: args.payload.map(|payload| match payload {
            PayloadArg::Signed => Payload::Signed,
            PayloadArg::Unsigned => Payload::Unsigned,
        }),
        method: args.signature_method.map(|method| match method {
            MethodArg::HmacSha1 => SignatureMethod::HmacSha1,
            MethodArg::HmacSha256 => SignatureMethod::HmacSha256,
        }),
        realm: args.realm.clone(),
        ..SiteWire::default()
    };
    Wire {
        authority: args.authority.clone(),
        methods: args.method.clone(),
        paths: args.path.clone(),
        site: Some(site),
        ..Wire::default()
    }
}

fn read_bindings(path: &Path) -> Outcome<Vec<Wire>> {
    let bytes = postern_files::read_bounded(path, MAX_FILE).or_environment("cannot read")?;
    let text = Zeroizing::new(String::from_utf8(bytes).or_usage(path.display())?);
    parse_bindings(&text).or_usage(path.display())
}

/// Errors say where and what was expected, never what is there: the file of a value is
/// easily given in place of the file of its binding.
fn parse_bindings(text: &str) -> Result<Vec<Wire>, String> {
    let options = serde_saphyr::options! { with_snippet: false };
    let value: Value = serde_saphyr::from_str_with_options(text, options).map_err(|e| {
        let line = e.location().map(|at| format!("line {}: ", at.line())).unwrap_or_default();
        format!("{line}expected YAML or JSON")
    })?;
    let wires = match value {
        Value::Array(_) => serde_json::from_value(value),
        one @ Value::Object(_) => serde_json::from_value(one).map(|wire| vec![wire]),
        _ => return Err("expected a binding or a list of bindings".to_owned()),
    };
    wires.map_err(|e| {
        let text = e.to_string();
        let expected = text.rfind(", expected ").and_then(|at| text.get(at + 2..));
        expected.unwrap_or("expected a binding or a list of bindings").to_owned()
    })
}

/// Names of fields, each once; one without a name where none is given.
fn field_names(given: &[String]) -> Outcome<Vec<String>> {
    let name = |name: &String| postern_core::placeholder::Name::new(name).is_some();
    let mut sorted = given.to_vec();
    sorted.sort();
    sorted.dedup();
    if !given.iter().all(name) || sorted.len() != given.len() || given.len() > MAX_FIELDS {
        return Err(Failure::usage("expected up to 16 names of fields, each once"));
    }
    Ok(if given.is_empty() { vec![String::new()] } else { given.to_vec() })
}

/// From the terminal without echo, else from stdin: one value is all of it without one final
/// line break, several are a line each.
fn read_fields(credential: &str, names: Vec<String>) -> Outcome<Vec<(String, Secret)>> {
    let values = if io::stdin().is_terminal() {
        names.iter().map(|name| prompted(credential, name)).collect::<Outcome<Vec<_>>>()?
    } else {
        let most = (MAX_VALUE + 2) * names.len() as u64;
        let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
        let mut stdin = io::stdin().lock().take(most);
        stdin.read_to_end(&mut bytes).or_environment("cannot read stdin")?;
        split(&bytes, names.len())
    };
    let good = |value: &Secret| !value.is_empty() && value.len() as u64 <= MAX_VALUE;
    if values.len() != names.len() || !values.iter().all(good) {
        let expected =
            "expected a value of 1 to 16384 bytes on stdin, and one line for each --field";
        return Err(Failure::usage(expected));
    }
    Ok(names.into_iter().zip(values).collect())
}

fn prompted(credential: &str, name: &str) -> Outcome<Secret> {
    let dot = if name.is_empty() { "" } else { "." };
    let prompt = format!("value of {credential}{dot}{name} (not shown): ");
    let text = rpassword::prompt_password(prompt);
    Ok(Secret::new(text.or_environment("cannot read from the terminal")?.into_bytes()))
}

fn split(bytes: &[u8], count: usize) -> Vec<Secret> {
    let whole = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let bare = |line: &[u8]| Secret::new(line.strip_suffix(b"\r").unwrap_or(line).to_vec());
    if count == 1 {
        return vec![bare(whole)];
    }
    whole.split(|byte| *byte == b'\n').map(bare).collect()
}

fn list(args: &ListArgs, out: Output) -> Outcome {
    let operator = Operator::load(&args.operator)?;
    let document = stored(&operator)?;
    let rows = document.get("credentials").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut lines =
        vec![["name", "version", "updated", "approval", "bindings"].map(str::to_owned).to_vec()];
    lines.extend(rows.iter().map(row));
    out.result(&document, &table(&lines))
}

fn row(credential: &Value) -> Vec<String> {
    let text = |key: &str| credential.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
    let number = |key: &str| credential.get(key).and_then(Value::as_u64);
    let updated = number("updated").map(|at| span::shown(UnixMillis(at))).unwrap_or_default();
    let version = number("version").map(|n| n.to_string()).unwrap_or_default();
    let bindings = credential.get("bindings").and_then(Value::as_array);
    let bindings = bindings.into_iter().flatten().filter_map(|b| b.get("authority"));
    let authorities: Vec<&str> = bindings.filter_map(Value::as_str).collect();
    vec![text("name"), version, updated, approval(credential), authorities.join(", ")]
}

/// Such as `writes, passkey, 2 people`.
fn approval(credential: &Value) -> String {
    let class = credential.get("approval").and_then(Value::as_str).unwrap_or("none");
    let passkey = credential.get("require_passkey").and_then(Value::as_bool).unwrap_or(false);
    let approvers = credential.get("approvers").and_then(Value::as_u64).unwrap_or(1);
    let mut text = class.to_owned();
    if passkey {
        text.push_str(", passkey");
    }
    if approvers > 1 {
        text.push_str(&format!(", {approvers} people"));
    }
    text
}

fn delete(args: &DeleteArgs, out: Output) -> Outcome {
    let operator = Operator::load(&args.operator)?;
    let name = &args.name;
    // What is not a name must not become another path.
    if postern_core::placeholder::Name::new(name).is_none() {
        return Err(Failure::usage("expected a credential's name, such as slack"));
    }
    operator.service()?.signed(
        &operator,
        "DELETE",
        &format!("/api/v1/credentials/{name}"),
        None,
    )?;
    out.result(&json!({"deleted": name}), &format!("deleted {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_given_as_its_binding_is_not_repeated() {
        for text in [
            "xoxb-SECRET",
            "key: xoxb-SECRET",
            "SECRET: 1",
            "credential: {a: SECRET}",
            "max_occurrences: SECRET",
            "site: SECRET",
            "site: {style: SECRET}",
            "- SECRET",
            "- [SECRET]",
            "a: [SECRET\nb: \"x",
            "SECRET: 1\nSECRET: 2\n",
            "\t@SECRET",
            "%SECRET: 1\n",
            "-----BEGIN PRIVATE KEY-----\nSECRET==\n-----END PRIVATE KEY-----",
            "*SECRET",
            "a: !SECRET x",
            "{\"SECRET\"",
        ] {
            let said = parse_bindings(text).unwrap_err();
            assert!(said.contains("expected ") && !said.contains("SECRET"), "{text}: {said}");
        }
    }

    #[test]
    fn several_values_are_a_line_each_and_one_is_everything() {
        let lines = |text: &str, count| -> Vec<usize> {
            split(text.as_bytes(), count).iter().map(Secret::len).collect()
        };
        assert_eq!(lines("ab\ncd\n", 1), [5]);
        assert_eq!(lines("ab\r\n", 1), [2]);
        assert_eq!(lines("ab\r\ncde\n", 2), [2, 3]);
        assert_eq!(lines("ab\n\n", 2), [2, 0]);
        assert_eq!(lines("ab\ncd\nef", 2), [2, 2, 2]);
    }

    #[test]
    fn names_of_fields_are_names_and_there_once() {
        let names = |given: &[&str]| {
            let given: Vec<String> = given.iter().map(|name| (*name).to_owned()).collect();
            field_names(&given).ok()
        };
        assert_eq!(names(&[]).unwrap(), [""]);
        assert_eq!(names(&["token", "id"]).unwrap(), ["token", "id"]);
        for bad in [&["a", "a"][..], &["A"], &[""], &["a.b"]] {
            assert_eq!(names(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn one_binding_or_a_list_is_read() {
        let one = "{authority: slack.com, methods: [GET], paths: [/api/**]}";
        assert_eq!(parse_bindings(one).unwrap().len(), 1);
        assert_eq!(parse_bindings(&format!("- {one}\n- {one}\n")).unwrap().len(), 2);
    }
}
