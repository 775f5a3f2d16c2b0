//! Parts of a body that have a body of their own: `every`, comprehensions, what stands behind
//! `not`.
//!
//! Invariant: what a part reads or goes through means the same to what follows it as it would
//! without the part.

use regorus::unstable::{Expr, Query, Ref};

use super::Writer;

/// Statements that always hold and read the documents. The compiler takes no `data` alone.
const READ: [(&str, &str); 2] =
    [("input", "input; "), ("data", "not data.__postern_nothing != data.__postern_nothing; ")];

impl Writer<'_> {
    /// A body in its braces. The bytecode reads `input` and `data` once in a body, where they
    /// first stand: in a part that may be passed over (`every` of nothing, a comprehension,
    /// behind `not`), they would be undefined for what follows. So they are read in front.
    pub(super) fn braced(&mut self, before: &str, write: impl FnOnce(&mut Self)) {
        let body = self.apart(write);
        let passed_over = ["every ", "not ", " | "].iter().any(|part| body.contains(part));
        self.put(before);
        self.put("{ ");
        for (root, read) in READ {
            // Such letters in a string only cost some instructions.
            if self.watch && passed_over && body.contains(root) {
                self.put(read);
            }
        }
        self.put(&body);
        self.put(" }");
    }

    /// The engine takes an index that is the loop's own variable (`owners[name]`) for a second
    /// loop, and one without an element for one that holds. So these are given in the body.
    pub(super) fn every(
        &mut self,
        key: Option<&str>,
        value: &str,
        domain: &Ref<Expr>,
        query: &Query,
    ) {
        let mut given = String::new();
        let mut another = |writer: &mut Self, name: &str| {
            if name == "_" {
                return name.to_owned();
            }
            let made = writer.name();
            given.push_str(&format!("{name} := {made}; "));
            made
        };
        let key = key.map(|key| format!("{}, ", another(self, key))).unwrap_or_default();
        let value = another(self, value);
        self.put(&format!("every {key}{value} in "));
        self.expr(domain);
        self.put(&format!(" {{ {given}"));
        self.stmts(query);
        self.put(" }");
    }
}
