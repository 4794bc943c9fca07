//! Hides how a resolved resource's properties are read: places for error messages, ranges, and
//! the numbers and booleans that parameters turn into strings.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::TemplateError;

/// Where a value stands: a resource and a path below its `Properties`.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) resource: String,
    pub(super) property: String,
}

impl Place {
    pub(super) fn of(resource: &str) -> Place {
        Place {
            resource: resource.to_owned(),
            property: String::new(),
        }
    }

    pub(super) fn below(&self, name: &str) -> Place {
        let mut property = self.property.clone();
        if !property.is_empty() {
            property.push('.');
        }
        property.push_str(name);
        Place {
            resource: self.resource.clone(),
            property,
        }
    }

    pub(super) fn invalid(&self, problem: impl Into<String>) -> TemplateError {
        TemplateError::Invalid {
            resource: self.resource.clone(),
            property: self.property.clone(),
            problem: problem.into(),
        }
    }

    fn missing(&self) -> TemplateError {
        let Place { resource, property } = self.clone();
        TemplateError::Missing { resource, property }
    }
}

/// An object's members, resolved.
#[derive(Clone, Debug)]
pub(super) struct Properties {
    pub(super) place: Place,
    members: Map<String, Value>,
}

impl Properties {
    pub(super) fn new(place: Place, value: Value) -> Result<Properties, TemplateError> {
        match value {
            Value::Object(members) => Ok(Properties { place, members }),
            Value::Null => Ok(Properties {
                place,
                members: Map::new(),
            }),
            _ => Err(place.invalid("is not a mapping")),
        }
    }

    /// Refuses members that nobody reads: they would be ignored in silence.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), TemplateError> {
        match self
            .members
            .keys()
            .find(|name| !known.contains(&name.as_str()))
        {
            None => Ok(()),
            Some(name) => {
                let Place { resource, property } = self.place.below(name);
                Err(TemplateError::UnknownProperty { resource, property })
            }
        }
    }

    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        self.members.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<String>, TemplateError> {
        let text = self
            .value(name)
            .map(|value| scalar(&self.place.below(name), value));
        text.transpose()
    }

    pub(super) fn required_text(&self, name: &str) -> Result<String, TemplateError> {
        self.text(name)?
            .ok_or_else(|| self.place.below(name).missing())
    }

    /// One of the given words, or none.
    pub(super) fn word<W: Copy>(
        &self,
        name: &str,
        words: &[(&str, W)],
    ) -> Result<Option<W>, TemplateError> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == text) {
            return Ok(Some(*meaning));
        }
        let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        let problem = format!("is {text:?}; use one of {}", words.join(", "));
        Err(self.place.below(name).invalid(problem))
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, TemplateError> {
        Ok(self
            .word(name, &[("true", true), ("false", false)])?
            .unwrap_or(false))
    }

    pub(super) fn number(
        &self,
        name: &str,
        range: RangeInclusive<u32>,
    ) -> Result<Option<u32>, TemplateError> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        match text.parse() {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => {
                let (min, max) = range.into_inner();
                let problem = format!("is {text}; use a number from {min} to {max}");
                Err(self.place.below(name).invalid(problem))
            }
        }
    }

    pub(super) fn object(&self, name: &str) -> Result<Option<Properties>, TemplateError> {
        let place = self.place.below(name);
        self.value(name)
            .map(|value| Properties::new(place, value.clone()))
            .transpose()
    }

    pub(super) fn required_object(&self, name: &str) -> Result<Properties, TemplateError> {
        self.object(name)?
            .ok_or_else(|| self.place.below(name).missing())
    }

    /// The members as objects.
    pub(super) fn objects(&self) -> Result<Vec<(String, Properties)>, TemplateError> {
        let object = |(name, value): (&String, &Value)| {
            let properties = Properties::new(self.place.below(name), value.clone())?;
            Ok((name.clone(), properties))
        };
        self.members.iter().map(object).collect()
    }

    /// The members as strings.
    pub(super) fn texts<T: FromIterator<(String, String)>>(&self) -> Result<T, TemplateError> {
        let text = |(name, value): (&String, &Value)| {
            Ok((name.clone(), scalar(&self.place.below(name), value)?))
        };
        self.members.iter().map(text).collect()
    }

    pub(super) fn list(&self, name: &str) -> Result<&[Value], TemplateError> {
        match self.value(name) {
            None => Ok(&[]),
            Some(Value::Array(items)) => Ok(items),
            Some(_) => Err(self.place.below(name).invalid("is not a list")),
        }
    }
}

/// A string, or a number or boolean as YAML wrote it.
pub(super) fn scalar(place: &Place, value: &Value) -> Result<String, TemplateError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(place.invalid("is not a string, number or boolean"))
        }
    }
}
