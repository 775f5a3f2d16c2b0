//! Accessibility: the rules of axe-core on the page that is shown.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::driver::Browser;
use crate::world::root;

/// What axe-core finds wrong: rule, and where. WCAG 2.2 A and AA, and its good practices.
///
/// # Errors
/// When axe-core is not laid out or does not run.
pub fn violations(browser: &Browser) -> Result<Vec<String>> {
    let place = root().join("target/tools/axe/node_modules/axe-core/axe.min.js");
    let axe = std::fs::read_to_string(place).context("no axe-core: run `cargo xtask setup`")?;
    let script = format!(
        "{axe};\nconst done = arguments[arguments.length - 1];\n\
         axe.run(document).then((it) => done(it.violations.map((one) => \
         one.id + ': ' + one.nodes.map((node) => node.html).join(' | '))), (no) => done([String(no)]));"
    );
    let found = browser.run_async(&script, &[])?;
    let found = found.as_array().context("violations")?;
    Ok(found.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}
