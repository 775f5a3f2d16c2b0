//! A YAML or JSON document as a tree that remembers its lines.
//!
//! Owns reading and walking; knows nothing of what the keys mean. Invariant: the
//! number of nodes is bounded, so an alias bomb is an error and not an exhausted memory.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;

/// Any value, with the line it starts on.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Line, counted from 1.
    pub line: u64,
    /// The value.
    pub tree: Tree,
}

/// The value of a [`Node`].
#[derive(Clone, Debug, PartialEq)]
pub enum Tree {
    /// `null`, a boolean, a number or text.
    Leaf(Value),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in the order of the file.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// Parses one document.
    pub fn parse(text: &str) -> Result<Self, String> {
        let options = serde_saphyr::options! { strict_booleans: true, with_snippet: false };
        serde_saphyr::from_str_with_options::<Spanned<Tree>>(text, options)
            .map(Self::from)
            .map_err(|e| e.to_string())
    }

    /// Parses every document of a stream (`---` on a line of its own between them); lines are
    /// those of the whole text, and a document without content is left out.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, String> {
        let mut documents = vec![String::new()];
        for (number, line) in text.lines().enumerate() {
            match (line.trim_end() == "---", documents.last_mut()) {
                (false, Some(document)) => {
                    document.push_str(line);
                    document.push('\n');
                }
                _ => documents.push("\n".repeat(number + 1)),
            }
        }
        let written = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
        let documents = documents.iter().filter(|document| document.lines().any(written));
        documents.map(|document| Self::parse(document)).collect()
    }

    /// The same value without lines.
    pub fn to_json(&self) -> Value {
        match &self.tree {
            Tree::Leaf(value) => value.clone(),
            Tree::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Tree::Map(entries) => Value::Object(
                entries.iter().map(|(k, v)| (k.clone(), v.to_json())).collect::<Map<_, _>>(),
            ),
        }
    }
}

impl From<Spanned<Tree>> for Node {
    fn from(spanned: Spanned<Tree>) -> Self {
        Self { line: spanned.defined.line(), tree: spanned.value }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Leaf(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Leaf(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Tree, E> {
        let number =
            Number::from_f64(value).ok_or_else(|| E::custom("expected a finite number"))?;
        Ok(Tree::Leaf(Value::Number(number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::String(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<Spanned<Tree>>()? {
            items.push(item.into());
        }
        Ok(Tree::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut entries: Vec<(String, Node)> = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            if entries.iter().any(|(seen, _)| *seen == key) {
                return Err(A::Error::custom(format_args!("the key {key:?} stands twice")));
            }
            entries.push((key, map.next_value::<Spanned<Tree>>()?.into()));
        }
        Ok(Tree::Map(entries))
    }
}

/// A node together with the way to it.
#[derive(Clone, Debug)]
pub struct At<'a> {
    /// The node.
    pub node: &'a Node,
    /// `static_resources.listeners[0].name`.
    pub path: String,
}

impl<'a> At<'a> {
    /// The whole document.
    pub fn root(node: &'a Node) -> Self {
        Self { node, path: String::new() }
    }

    /// The value of `key`; `null` counts as absent.
    pub fn get(&self, key: &str) -> Option<Self> {
        self.entries().into_iter().find(|(k, at)| *k == key && !at.is_null()).map(|(_, at)| at)
    }

    /// Follows several keys.
    pub fn at(&self, keys: &[&str]) -> Option<Self> {
        keys.iter().try_fold(self.clone(), |at, key| at.get(key))
    }

    /// The items of a list; nothing for any other value.
    pub fn items(&self) -> Vec<Self> {
        let Tree::List(items) = &self.node.tree else { return Vec::new() };
        let item = |(n, node)| Self { node, path: format!("{}[{n}]", self.path) };
        items.iter().enumerate().map(item).collect()
    }

    /// The items of the list under `key`.
    pub fn list(&self, key: &str) -> Vec<Self> {
        self.get(key).map(|at| at.items()).unwrap_or_default()
    }

    /// The entries of a mapping; nothing for any other value.
    pub fn entries(&self) -> Vec<(&'a str, Self)> {
        let Tree::Map(entries) = &self.node.tree else { return Vec::new() };
        let entry = |(key, node): &'a (String, Node)| {
            (key.as_str(), Self { node, path: join(&self.path, key) })
        };
        entries.iter().map(entry).collect()
    }

    /// Text, if it is that.
    pub fn text(&self) -> Option<&'a str> {
        match &self.node.tree {
            Tree::Leaf(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The text under `key`.
    pub fn text_of(&self, key: &str) -> Option<&'a str> {
        self.get(key).and_then(|at| at.text())
    }

    /// A whole number, written as a number or as text.
    pub fn number(&self) -> Option<u64> {
        match &self.node.tree {
            Tree::Leaf(Value::Number(n)) => n.as_u64(),
            Tree::Leaf(Value::String(text)) => text.parse().ok(),
            _ => None,
        }
    }

    /// Whether it is the boolean `true`.
    pub fn is_true(&self) -> bool {
        self.node.tree == Tree::Leaf(Value::Bool(true))
    }

    /// Whether it is `null`.
    pub fn is_null(&self) -> bool {
        self.node.tree == Tree::Leaf(Value::Null)
    }

    /// Every node from here down, parents first.
    pub fn walk(&self) -> Vec<Self> {
        let mut found = vec![self.clone()];
        let mut next = 0;
        while let Some(at) = found.get(next).cloned() {
            next += 1;
            found.extend(at.items());
            found.extend(at.entries().into_iter().map(|(_, at)| at));
        }
        found
    }

    /// The node that `path` (as another parser wrote it: `bindings[0].site`) leads to,
    /// as far as it exists.
    pub fn nearest(&self, path: &str) -> Self {
        let mut here = self.clone();
        for step in path.split(['.', '[', ']']).filter(|step| !step.is_empty()) {
            let item = || step.parse::<usize>().ok().and_then(|n| here.items().get(n).cloned());
            match here.get(step).or_else(item) {
                Some(next) => here = next,
                None => break,
            }
        }
        here
    }
}

fn join(path: &str, key: &str) -> String {
    let key = if key.contains('.') { format!("\"{key}\"") } else { key.to_owned() };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a: &x\n  b: [1, no, '2']\nc:\n- d: *x\n  e.f: ~\n";

    #[test]
    fn a_path_leads_to_its_line() {
        let node = Node::parse(TEXT).unwrap();
        let root = At::root(&node);
        let d = root.nearest("c[0].d");
        assert_eq!(d.path, "c[0].d");
        assert_eq!(root.nearest("c[0].d.nothing").path, "c[0].d");
        assert_eq!(root.at(&["a", "b"]).unwrap().node.line, 2);
        assert!(root.nearest("c[0]").get("e.f").is_none(), "null counts as absent");
    }

    #[test]
    fn an_alias_gives_the_same_value() {
        let node = Node::parse(TEXT).unwrap();
        assert_eq!(
            node.to_json(),
            serde_json::json!({"a": {"b": [1, "no", "2"]}, "c": [{"d": {"b": [1, "no", "2"]}, "e.f": null}]})
        );
    }

    #[test]
    fn documents_of_one_text_keep_their_lines() {
        let nodes = Node::parse_all("# a\n---\na: 1\n---\n\n---\nb:\n  c: |\n    --- 3\n").unwrap();
        let values: Vec<_> = nodes.iter().map(Node::to_json).collect();
        assert_eq!(
            values,
            [serde_json::json!({"a": 1}), serde_json::json!({"b": {"c": "--- 3\n"}})]
        );
        let lines: Vec<_> = nodes.iter().map(|node| At::root(node).walk()[1].node.line).collect();
        assert_eq!(lines, [3, 8]);
        assert!(Node::parse_all("a: 1\n---\nb: [\n").is_err());
        assert_eq!(Node::parse_all("# nothing\n"), Ok(Vec::new()));
    }

    #[test]
    fn a_key_that_stands_twice_is_an_error() {
        assert!(Node::parse("a: 1\na: 2\n").is_err());
    }

    #[test]
    fn an_alias_bomb_is_an_error() {
        let mut text = String::from("a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n");
        for n in 1..9 {
            let items = vec![format!("*a{}", n - 1); 10].join(", ");
            text.push_str(&format!("a{n}: &a{n} [{items}]\n"));
        }
        assert!(Node::parse(&text).is_err());
    }
}
