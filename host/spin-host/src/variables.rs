//! Variables of an application, and the templates that components get them by.
//!
//! A component's variable is a text with `{{ name }}` in it for variables of the application.
//! Those come from `SPIN_VARIABLE_NAME` in the environment, else from the manifest's default.

use std::collections::BTreeMap;

use crate::Error;
use crate::manifest::Variable;

/// A text with places for variables of the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Variable(String),
}

impl Template {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, behind) = after.split_once("}}").ok_or("{{ without }}")?;
            let name = name.trim();
            if !is_name(name) {
                return Err(format!("{name:?} is no name of a variable"));
            }
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::Variable(name.to_owned()));
            rest = behind;
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self(parts))
    }

    /// The variables of the application that stand in it.
    pub fn variables(&self) -> Vec<&str> {
        let names = self.0.iter().filter_map(|part| match part {
            Part::Variable(name) => Some(name.as_str()),
            Part::Text(_) => None,
        });
        names.collect()
    }

    /// Its text.
    pub fn resolve(&self, values: &Values) -> Result<String, String> {
        let parts = self.0.iter().map(|part| match part {
            Part::Text(text) => Ok(text.as_str()),
            Part::Variable(name) => {
                let value = values.0.get(name).map(String::as_str);
                value.ok_or_else(|| format!("variable {name:?} has no value"))
            }
        });
        parts.collect()
    }
}

/// Lower case, digits and single underscores, beginning with a letter.
pub fn is_name(name: &str) -> bool {
    let letters = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    letters && begins && !name.contains("__") && !name.ends_with('_')
}

/// The values of an application's variables.
#[derive(Clone, Default)]
pub struct Values(BTreeMap<String, String>);

impl Values {
    /// What is given by name, else the default. All that are required and missing at once.
    pub fn new(
        variables: &BTreeMap<String, Variable>,
        given: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Error> {
        let (mut values, mut missing) = (BTreeMap::new(), Vec::new());
        for (name, variable) in variables {
            match given(name).or_else(|| variable.default.clone()) {
                Some(value) => {
                    values.insert(name.clone(), value);
                }
                None if variable.required => missing.push(environment(name)),
                None => {}
            }
        }
        match missing.is_empty() {
            true => Ok(Self(values)),
            false => Err(Error::Manifest(format!("variables: missing {}", missing.join(", ")))),
        }
    }
}

/// The name of a variable's value in the environment.
pub fn environment(name: &str) -> String {
    format!("SPIN_VARIABLE_{}", name.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(pairs: &[(&str, &str)]) -> Values {
        Values(pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn places_are_filled_and_braces_of_json_stay() {
        let values = values(&[("key", "k1"), ("host", "a.test")]);
        for (text, wanted) in [
            ("", Ok("")),
            ("plain", Ok("plain")),
            ("{{key}}", Ok("k1")),
            ("https://{{ host }}:443/{{ key }}", Ok("https://a.test:443/k1")),
            (r#"{"a":{"b":{}}}"#, Ok(r#"{"a":{"b":{}}}"#)),
            ("{{ none }}", Err("variable \"none\" has no value")),
        ] {
            let got = Template::parse(text).unwrap().resolve(&values);
            assert_eq!(got.as_deref().map_err(String::as_str), wanted, "{text}");
        }
        for text in ["{{", "{{ a", "{{ }}", "{{ A }}", "{{ a-b }}", "{{ a__b }}", "{{ 1 }}"] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn required_variables_that_are_missing_are_all_named() {
        let variable = |required| Variable { required, ..Variable::default() };
        let variables = [("a_key", true), ("b", false), ("c", true)];
        let variables = variables.map(|(name, required)| (name.to_owned(), variable(required)));
        let error = Values::new(&variables.clone().into(), |_| None).err().unwrap();
        let wanted = "variables: missing SPIN_VARIABLE_A_KEY, SPIN_VARIABLE_C";
        assert_eq!(error.to_string(), wanted);
        assert!(Values::new(&variables.into(), |_| Some(String::new())).is_ok());
    }
}
