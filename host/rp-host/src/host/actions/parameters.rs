//! Whether parameters fit an action's schema, and in words why not.

use jsonschema::{
    JsonType, PatternOptions, ValidationError,
    error::{TypeKind, ValidationErrorKind as Kind},
};
use serde_json::{Map, Value};

use super::in_words;
use crate::{
    config::closest,
    problem::{Problem, While},
};

/// Problems that are told at once.
const TOLD: usize = 10;

/// Checks parameters; the problem names every one that does not fit, and `lists` says where they
/// are listed.
pub fn check(schema: &Value, parameters: &Map<String, Value>, lists: &str) -> Result<(), Problem> {
    // The engine of these patterns takes no longer than their text is long.
    let options = jsonschema::options().with_pattern_options(PatternOptions::regex());
    let validator = options.offline().build(schema).doing("read the action's parameters")?;
    let parameters = Value::Object(parameters.clone());
    let mut wrong: Vec<String> = validator.iter_errors(&parameters).flat_map(sentences).collect();
    if wrong.is_empty() {
        return Ok(());
    }
    wrong.sort();
    wrong.dedup();
    wrong.truncate(TOLD);
    let hint = match meant(schema, &parameters) {
        Some(name) => format!("did you mean {name}? {lists}"),
        None => lists.to_owned(),
    };
    Err(Problem::usage(wrong.join("; ")).hint(hint))
}

/// The known parameter that looks most like one that is not.
fn meant<'a>(schema: &'a Value, parameters: &Value) -> Option<&'a str> {
    let known = schema.get("properties")?.as_object()?;
    let mut unknown = parameters.as_object()?.keys().filter(|name| !known.contains_key(*name));
    unknown.find_map(|name| closest(name, known.keys().map(String::as_str)))
}

/// What is wrong, a sentence for each thing.
fn sentences(error: ValidationError<'_>) -> Vec<String> {
    let place = place(error.instance_path().as_str());
    let inside = |name: &str| match place.as_str() {
        "" => name.to_owned(),
        place => format!("{place}.{name}"),
    };
    match error.kind() {
        Kind::Required { property } => {
            vec![format!("the parameter {} is missing", inside(&in_words(property)))]
        }
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            let no = |name: &String| format!("there is no parameter {}", inside(name));
            unexpected.iter().map(no).collect()
        }
        _ if place.is_empty() => vec![format!("the parameters {}", must(&error))],
        _ => vec![format!("the parameter {place} {}", must(&error))],
    }
}

/// The end of a sentence that begins with the parameter.
fn must(error: &ValidationError<'_>) -> String {
    match error.kind() {
        Kind::Enum { options } => {
            let options = options.as_array().map(Vec::as_slice).unwrap_or_default();
            let options: Vec<String> = options.iter().map(in_words).collect();
            format!("must be one of {}", options.join(", "))
        }
        Kind::Constant { expected_value } => format!("must be {}", in_words(expected_value)),
        Kind::Type { kind: TypeKind::Single(kind) } => format!("must be {}", type_name(*kind)),
        Kind::Type { kind: TypeKind::Multiple(kinds) } => {
            let kinds: Vec<_> = kinds.iter().map(type_name).collect();
            format!("must be {}", kinds.join(" or "))
        }
        Kind::MinLength { limit: 1 } => "must not be empty".to_owned(),
        Kind::MinLength { limit } => format!("must have at least {limit} characters"),
        Kind::MaxLength { limit } => format!("may have at most {limit} characters"),
        Kind::MinItems { limit } => format!("must have at least {limit} items"),
        Kind::MaxItems { limit } => format!("may have at most {limit} items"),
        Kind::Minimum { limit } => format!("must be at least {limit}"),
        Kind::Maximum { limit } => format!("must be at most {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("must be more than {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("must be less than {limit}"),
        Kind::MultipleOf { multiple_of } => format!("must be a multiple of {multiple_of}"),
        Kind::UniqueItems => "must not have an item twice".to_owned(),
        Kind::Pattern { pattern } => format!("must match the pattern {pattern}"),
        // The library's sentence is about "value": it fits behind a colon.
        _ if error.instance_path().as_str().is_empty() => {
            format!("do not fit: {}", error.masked())
        }
        _ => format!("does not fit: {}", error.masked()),
    }
}

fn type_name(kind: JsonType) -> &'static str {
    match kind {
        JsonType::Null => "null",
        JsonType::Boolean => "true or false",
        JsonType::Integer => "a whole number",
        JsonType::Number => "a number",
        JsonType::String => "text",
        JsonType::Array => "a list",
        JsonType::Object => "an object",
    }
}

/// A JSON pointer as a person writes it: `limits.0.minutes`.
fn place(pointer: &str) -> String {
    let parts = pointer.split('/').skip(1).map(|part| part.replace("~1", "/").replace("~0", "~"));
    parts.collect::<Vec<_>>().join(".")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(properties: Value, parameters: &Value) -> (String, String) {
        let schema = json!({
            "type": "object",
            "properties": properties,
            "required": ["to"],
            "additionalProperties": false,
        });
        let problem = check(&schema, parameters.as_object().unwrap(), "see there").unwrap_err();
        assert_eq!(problem.exit_code(), 2);
        (problem.to_string(), problem.hint_text().unwrap().to_owned())
    }

    /// What is said of this value of a parameter with this schema.
    fn said(schema: Value, value: Value) -> String {
        refusal(json!({ "to": schema }), &json!({ "to": value })).0
    }

    #[test]
    fn parameters_that_fit_are_taken() {
        let schema = json!({ "properties": { "to": { "type": "string" } }, "required": ["to"] });
        check(&schema, json!({ "to": "web" }).as_object().unwrap(), "").unwrap();
        check(&json!({}), json!({ "any": 1 }).as_object().unwrap(), "").unwrap();
    }

    #[test]
    fn each_thing_that_does_not_fit_is_said_in_words() {
        let levels = json!({ "enum": ["off", "low", 3] });
        assert_eq!(said(levels, json!("of")), "the parameter to must be one of off, low, 3");
        let cases = [
            (json!({ "type": "string" }), json!(1), "must be text"),
            (json!({ "type": "integer" }), json!(1.5), "must be a whole number"),
            (json!({ "type": ["boolean", "null"] }), json!(""), "must be null or true or false"),
            (json!({ "type": "array" }), json!({}), "must be a list"),
            (json!({ "minLength": 1 }), json!(""), "must not be empty"),
            (json!({ "minLength": 3 }), json!("ab"), "must have at least 3 characters"),
            (json!({ "maxLength": 1 }), json!("ab"), "may have at most 1 characters"),
            (json!({ "minimum": 2 }), json!(1), "must be at least 2"),
            (json!({ "exclusiveMaximum": 2 }), json!(2), "must be less than 2"),
            (json!({ "maxItems": 1 }), json!([1, 2]), "may have at most 1 items"),
            (json!({ "const": "yes" }), json!("no"), "must be yes"),
            (json!({ "pattern": "^a+$" }), json!("b"), "must match the pattern ^a+$"),
        ];
        for (schema, value, expected) in cases {
            assert_eq!(said(schema, value), format!("the parameter to {expected}"));
        }
        let nested = json!({ "properties": { "a/b": { "items": { "type": "string" } } } });
        assert_eq!(said(nested, json!({ "a/b": ["", 1] })), "the parameter to.a/b.1 must be text");
        let either = said(json!({ "anyOf": [{ "type": "string" }, { "const": 1 }] }), json!(2));
        assert!(either.starts_with("the parameter to does not fit: value "), "{either}");
    }

    #[test]
    fn missing_and_unknown_parameters_are_named_in_order() {
        let properties = json!({ "to": { "type": "string" }, "note": { "type": "string" } });
        let (message, hint) = refusal(properties, &json!({ "noet": "x", "a": 1, "note": 2 }));
        assert_eq!(
            message,
            "the parameter note must be text; the parameter to is missing; \
             there is no parameter a; there is no parameter noet"
        );
        assert_eq!(hint, "did you mean note? see there");
        let properties = json!({ "to": { "type": "string" } });
        let (message, hint) = refusal(properties, &json!({ "too": "web", "to": "web" }));
        assert_eq!(message, "there is no parameter too");
        assert_eq!(hint, "did you mean to? see there");
        let (_, hint) = refusal(json!({ "to": {} }), &json!({}));
        assert_eq!(hint, "see there");
    }
}
