//! Hides CloudFormation's intrinsic functions: YAML with references in, plain JSON out.
//!
//! References resolve to what the local cloud uses: a queue to its URL, a table and a function
//! to their names. Whoever refers to whom is remembered, so that a circle that CloudFormation
//! would refuse is found here.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use serde_json::{Map, Value as Json};
use serde_yaml_ng::{Mapping, Value as Yaml};

use super::{
    Surroundings, TemplateError, permissions,
    properties::{Place, scalar},
};
use crate::sqs::{ACCOUNT, REGION};

/// A resource as the template has it, its type understood.
#[derive(Debug)]
pub(super) struct Resource {
    pub(super) kind: Kind,
    pub(super) properties: Yaml,
}

/// The types of resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Function,
    Queue,
    Table,
    Api,
    Role,
    Layer,
    /// It means nothing locally.
    Skipped,
}

/// Everything that a reference may be about.
#[derive(Debug)]
pub(super) struct Resolver<'a> {
    pub(super) resources: &'a BTreeMap<String, Resource>,
    pub(super) parameters: BTreeMap<String, String>,
    pub(super) conditions: Mapping,
    pub(super) surroundings: &'a Surroundings,
    /// What is being resolved right now, outermost first.
    open: RefCell<Vec<String>>,
    /// Who refers to whom.
    references: RefCell<BTreeSet<(String, String)>>,
}

/// The ARN of a layer's only version.
pub(super) fn layer_arn(id: &str) -> String {
    format!("arn:aws:lambda:{REGION}:{ACCOUNT}:layer:{id}:1")
}

impl<'a> Resolver<'a> {
    pub(super) fn new(
        resources: &'a BTreeMap<String, Resource>,
        parameters: BTreeMap<String, String>,
        conditions: Mapping,
        surroundings: &'a Surroundings,
    ) -> Resolver<'a> {
        let (open, references) = (RefCell::default(), RefCell::default());
        Resolver {
            resources,
            parameters,
            conditions,
            surroundings,
            open,
            references,
        }
    }

    /// The value without intrinsics; none is `AWS::NoValue`.
    pub(super) fn resolve(
        &self,
        place: &Place,
        yaml: &Yaml,
    ) -> Result<Option<Json>, TemplateError> {
        if let Some((intrinsic, argument)) = as_intrinsic(yaml) {
            return self.evaluate(place, &intrinsic, argument);
        }
        Ok(Some(match yaml {
            Yaml::Sequence(items) => {
                let items = items.iter().enumerate();
                let items =
                    items.map(|(index, item)| self.resolve(&place.below(&index.to_string()), item));
                Json::Array(
                    items
                        .filter_map(Result::transpose)
                        .collect::<Result<_, _>>()?,
                )
            }
            Yaml::Mapping(members) => {
                let mut object = Map::new();
                for (name, member) in members {
                    let Some(name) = name.as_str() else {
                        return Err(place.invalid("has a key that is not a string; quote it"));
                    };
                    if let Some(member) = self.resolve(&place.below(name), member)? {
                        object.insert(name.to_owned(), member);
                    }
                }
                Json::Object(object)
            }
            plain => serde_json::to_value(plain)
                .map_err(|_error| place.invalid("cannot be said in JSON; quote it"))?,
        }))
    }

    fn evaluate(
        &self,
        place: &Place,
        intrinsic: &str,
        argument: &Yaml,
    ) -> Result<Option<Json>, TemplateError> {
        match intrinsic {
            "Ref" => {
                let name = argument
                    .as_str()
                    .ok_or_else(|| place.invalid("has a Ref to no name"))?;
                if name == "AWS::NoValue" {
                    return Ok(None);
                }
                self.reference(place, name)
                    .map(|value| Some(Json::String(value)))
            }
            "Fn::GetAtt" => self
                .get_att(place, argument)
                .map(|value| Some(Json::String(value))),
            "Fn::Sub" => self
                .sub(place, argument)
                .map(|value| Some(Json::String(value))),
            "Fn::Join" => self
                .join(place, argument)
                .map(|value| Some(Json::String(value))),
            "Fn::If" => {
                let Some([condition, then, or_else]) = argument.as_sequence().map(Vec::as_slice)
                else {
                    return Err(place.invalid("has an Fn::If without its three arguments"));
                };
                let name = condition.as_str();
                let name = name.ok_or_else(|| place.invalid("has an Fn::If without a name"))?;
                let chosen = if self.condition(place, name)? {
                    then
                } else {
                    or_else
                };
                self.resolve(place, chosen)
            }
            other => Err(Self::unsupported(place, other)),
        }
    }

    /// Evaluates a condition of the template's `Conditions`.
    pub(super) fn condition(&self, place: &Place, name: &str) -> Result<bool, TemplateError> {
        let Some(condition) = self.conditions.get(name) else {
            return Err(unresolved(place, name));
        };
        let place = Place::of("Conditions").below(name);
        self.guarded(name, || self.holds(&place, condition))
    }

    fn holds(&self, place: &Place, yaml: &Yaml) -> Result<bool, TemplateError> {
        let Some((intrinsic, argument)) = as_intrinsic(yaml) else {
            return Err(place.invalid("is no condition; use Fn::Equals, Fn::Not, Fn::And, Fn::Or"));
        };
        let arguments = argument
            .as_sequence()
            .map(Vec::as_slice)
            .unwrap_or_default();
        match (intrinsic.as_str(), arguments) {
            ("Fn::Equals", [one, other]) => {
                Ok(self.resolve(place, one)? == self.resolve(place, other)?)
            }
            ("Fn::Not", [condition]) => Ok(!self.holds(place, condition)?),
            ("Fn::And", all) if all.len() > 1 => all
                .iter()
                .try_fold(true, |holds, one| Ok(self.holds(place, one)? && holds)),
            ("Fn::Or", any) if any.len() > 1 => any
                .iter()
                .try_fold(false, |holds, one| Ok(self.holds(place, one)? || holds)),
            ("Condition", _) => {
                let name = argument.as_str();
                let name = name.ok_or_else(|| place.invalid("has a Condition without a name"))?;
                self.condition(place, name)
            }
            ("Fn::Equals" | "Fn::Not" | "Fn::And" | "Fn::Or", _) => Err(place.invalid(format!(
                "has an {intrinsic} with the wrong number of arguments"
            ))),
            (other, _) => Err(Self::unsupported(place, other)),
        }
    }

    fn unsupported(place: &Place, intrinsic: &str) -> TemplateError {
        let Place { resource, property } = place.clone();
        let intrinsic = intrinsic.to_owned();
        TemplateError::UnsupportedIntrinsic {
            resource,
            property,
            intrinsic,
        }
    }

    /// What `Ref` gives.
    fn reference(&self, place: &Place, name: &str) -> Result<String, TemplateError> {
        if let Some(value) = self.parameters.get(name) {
            return Ok(value.clone());
        }
        match name {
            "AWS::Region" => return Ok(REGION.to_owned()),
            "AWS::AccountId" => return Ok(ACCOUNT.to_owned()),
            "AWS::Partition" => return Ok("aws".to_owned()),
            "AWS::URLSuffix" => return Ok("amazonaws.com".to_owned()),
            "AWS::StackName" => return Ok("local".to_owned()),
            _ => {}
        }
        // SAM's own: `Function.Alias` and `Function.Version` of an AutoPublishAlias.
        let published = name
            .strip_suffix(".Alias")
            .or_else(|| name.strip_suffix(".Version"));
        let id = published.unwrap_or(name);
        let resource = self.refer(place, id, name)?;
        match resource.kind {
            Kind::Function => self.name(id),
            _ if published.is_some() => Err(unresolved(place, name)),
            Kind::Queue => self.queue_url(id),
            Kind::Table => self.name(id),
            Kind::Layer => Ok(layer_arn(id)),
            Kind::Api | Kind::Role | Kind::Skipped => Ok(id.to_owned()),
        }
    }

    fn queue_url(&self, id: &str) -> Result<String, TemplateError> {
        let name = self.name(id)?;
        let server = self.surroundings.sqs_url.trim_end_matches('/');
        Ok(match self.surroundings.queue_urls.get(&name) {
            Some(url) => url.clone(),
            None => format!("{server}/{ACCOUNT}/{name}"),
        })
    }

    fn get_att(&self, place: &Place, argument: &Yaml) -> Result<String, TemplateError> {
        let (id, attribute) = match argument {
            Yaml::String(path) => path.split_once('.'),
            Yaml::Sequence(parts) => match parts.as_slice() {
                [Yaml::String(id), Yaml::String(attribute)] => Some((&**id, &**attribute)),
                _ => None,
            },
            _ => None,
        }
        .ok_or_else(|| place.invalid("has an Fn::GetAtt that is not Resource.Attribute"))?;
        self.attribute(place, id, attribute)
    }

    fn attribute(&self, place: &Place, id: &str, attribute: &str) -> Result<String, TemplateError> {
        let reference = format!("{id}.{attribute}");
        let resource = self.refer(place, id, &reference)?;
        let arn =
            |service: &str, rest: String| format!("arn:aws:{service}:{REGION}:{ACCOUNT}:{rest}");
        match (resource.kind, attribute) {
            (Kind::Function, "Arn") => Ok(arn("lambda", format!("function:{}", self.name(id)?))),
            (Kind::Queue, "Arn") => Ok(arn("sqs", self.name(id)?)),
            (Kind::Queue, "QueueName") => self.name(id),
            (Kind::Queue, "QueueUrl") => self.queue_url(id),
            (Kind::Table, "Arn") => Ok(arn("dynamodb", format!("table/{}", self.name(id)?))),
            // Which one it is, is known only once the table is there: whoever reads it asks.
            (Kind::Table, "StreamArn")
                if resource.properties.get("StreamSpecification").is_some() =>
            {
                let name = self.name(id)?;
                Ok(arn("dynamodb", format!("table/{name}/stream/latest")))
            }
            (Kind::Api, "ApiId") => Ok(id.to_owned()),
            (Kind::Role, "Arn") => Ok(permissions::role_arn(id)),
            (Kind::Skipped, _) => Ok(arn("local", format!("{id}/{attribute}"))),
            _ => Err(unresolved(place, &reference)),
        }
    }

    fn sub(&self, place: &Place, argument: &Yaml) -> Result<String, TemplateError> {
        let (text, variables) = match argument {
            Yaml::String(text) => (Some(text), None),
            Yaml::Sequence(parts) => match parts.as_slice() {
                [Yaml::String(text), Yaml::Mapping(variables)] => (Some(text), Some(variables)),
                _ => (None, None),
            },
            _ => (None, None),
        };
        let text = text.ok_or_else(|| place.invalid("has an Fn::Sub without a string"))?;
        let mut result = String::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once("${") {
            result.push_str(before);
            let Some((name, after)) = after.split_once('}') else {
                return Err(place.invalid("has an Fn::Sub with a ${ that is not closed"));
            };
            rest = after;
            if let Some(literal) = name.strip_prefix('!') {
                result.extend(["${", literal, "}"]);
                continue;
            }
            let name = name.trim();
            let value = match (
                variables.and_then(|own| own.get(name)),
                name.split_once('.'),
            ) {
                (Some(own), _) => match self.resolve(place, own)? {
                    Some(value) => scalar(place, &value)?,
                    None => String::new(),
                },
                (None, Some((id, attribute))) if !matches!(attribute, "Alias" | "Version") => {
                    self.attribute(place, id, attribute)?
                }
                _ => self.reference(place, name)?,
            };
            result.push_str(&value);
        }
        result.push_str(rest);
        Ok(result)
    }

    fn join(&self, place: &Place, argument: &Yaml) -> Result<String, TemplateError> {
        let wrong = || place.invalid("has an Fn::Join that is not [separator, [values]]");
        let Some([Yaml::String(separator), values]) = argument.as_sequence().map(Vec::as_slice)
        else {
            return Err(wrong());
        };
        let Some(Json::Array(values)) = self.resolve(place, values)? else {
            return Err(wrong());
        };
        let values: Result<Vec<_>, _> = values.iter().map(|value| scalar(place, value)).collect();
        Ok(values?.join(separator))
    }

    /// The local name of a function, a queue or a table.
    pub(super) fn name(&self, id: &str) -> Result<String, TemplateError> {
        let Some(resource) = self.resources.get(id) else {
            return Err(unresolved(&Place::of(id), id));
        };
        self.guarded(id, || {
            let text = |name: &str| {
                let place = Place::of(id).below(name);
                let value = resource.properties.get(name);
                let value = value
                    .map(|value| self.resolve(&place, value))
                    .transpose()?
                    .flatten();
                value.map(|value| scalar(&place, &value)).transpose()
            };
            match resource.kind {
                Kind::Function => folder(&Place::of(id).below("CodeUri"), text("CodeUri")?),
                Kind::Table => Ok(text("TableName")?.unwrap_or_else(|| id.to_owned())),
                Kind::Queue => {
                    let is_fifo = text("FifoQueue")?.is_some_and(|fifo| fifo == "true");
                    let ending = if is_fifo { ".fifo" } else { "" };
                    Ok(text("QueueName")?.unwrap_or_else(|| format!("{id}{ending}")))
                }
                Kind::Api | Kind::Role | Kind::Layer | Kind::Skipped => Ok(id.to_owned()),
            }
        })
    }

    /// Runs what resolves `name`, unless that is already being resolved.
    fn guarded<T>(
        &self,
        name: &str,
        resolve: impl FnOnce() -> Result<T, TemplateError>,
    ) -> Result<T, TemplateError> {
        let circle = {
            let mut open = self.open.borrow_mut();
            let circle = open.iter().position(|open| open == name);
            open.push(name.to_owned());
            circle.map(|start| open.iter().skip(start).cloned().collect::<Vec<_>>())
        };
        let result = match circle {
            Some(circle) => Err(TemplateError::Cycle {
                path: circle.join(" -> "),
            }),
            None => resolve(),
        };
        self.open.borrow_mut().pop();
        result
    }

    /// Finds a resource and remembers who referred to it.
    fn refer(&self, place: &Place, id: &str, name: &str) -> Result<&Resource, TemplateError> {
        let resource = self
            .resources
            .get(id)
            .ok_or_else(|| unresolved(place, name))?;
        let from = self.resources.get(&place.resource).map(|from| from.kind);
        // SAM makes routes, permissions and event sources resources of their own: they come
        // after both sides and close no circle.
        let apart = from == Some(Kind::Api) || place.property.starts_with("Events");
        if !apart {
            let reference = (place.resource.clone(), id.to_owned());
            self.references.borrow_mut().insert(reference);
        }
        Ok(resource)
    }

    /// Refuses resources that wait for each other.
    pub(super) fn check_circles(&self) -> Result<(), TemplateError> {
        let references = self.references.borrow();
        let mut done = BTreeSet::new();
        for start in self.resources.keys() {
            follow(&references, start, &mut Vec::new(), &mut done)?;
        }
        Ok(())
    }
}

/// Walks all references from `id`, depth first.
fn follow<'r>(
    references: &'r BTreeSet<(String, String)>,
    id: &'r str,
    path: &mut Vec<&'r str>,
    done: &mut BTreeSet<&'r str>,
) -> Result<(), TemplateError> {
    if let Some(start) = path.iter().position(|open| *open == id) {
        let mut circle = path.split_off(start);
        circle.push(id);
        return Err(TemplateError::Cycle {
            path: circle.join(" -> "),
        });
    }
    if done.contains(id) {
        return Ok(());
    }
    path.push(id);
    for (_, to) in references.iter().filter(|(from, _)| from == id) {
        follow(references, to, path, done)?;
    }
    path.pop();
    done.insert(id);
    Ok(())
}

/// The intrinsic's long name and its argument, in its tag or its mapping form.
fn as_intrinsic(yaml: &Yaml) -> Option<(String, &Yaml)> {
    match yaml {
        Yaml::Tagged(tagged) => {
            let tag = tagged.tag.to_string();
            let name = tag.trim_start_matches('!');
            let long = match name {
                "Ref" | "Condition" => name.to_owned(),
                _ => format!("Fn::{name}"),
            };
            Some((long, &tagged.value))
        }
        Yaml::Mapping(members) if members.len() == 1 => {
            let (name, argument) = members.iter().next()?;
            let name = name.as_str()?;
            // `Condition` alone is also a word of IAM policies: there its argument is a mapping.
            let known = name == "Ref" || name.starts_with("Fn::");
            let known = known || (name == "Condition" && argument.is_string());
            known.then(|| (name.to_owned(), argument))
        }
        _ => None,
    }
}

fn folder(place: &Place, code_uri: Option<String>) -> Result<String, TemplateError> {
    let Place { resource, property } = place.clone();
    let code_uri = code_uri.ok_or(TemplateError::Missing { resource, property })?;
    let folder = code_uri
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or_default();
    if folder.is_empty() || folder.chars().all(|character| character == '.') {
        return Err(place.invalid("is no function's folder; use functions/NAME"));
    }
    Ok(folder.to_owned())
}

fn unresolved(place: &Place, reference: &str) -> TemplateError {
    let Place { resource, property } = place.clone();
    TemplateError::UnresolvedReference {
        resource,
        property,
        reference: reference.to_owned(),
    }
}
