//! Generates `openapi.json` from the questions and their types. The doc comment of a field is its description.

use std::{borrow::Cow, fs, path::Path};

use schemars::{
    JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema, transform::RecursiveTransform,
};
use serde_json::{Map, Value, json};

use crate::{problem::Details, question::Question, questions};

/// Examples of a question's answers.
pub trait Examples: Question {
    fn examples() -> Vec<(&'static str, Self::Answer)>;
}

/// The first example of an answer.
pub fn example<Q: Examples>() -> Option<Q::Answer> {
    Q::examples().into_iter().map(|(_, answer)| answer).next()
}

/// A ticker symbol as Finnhub writes it.
pub enum Symbol {}

impl JsonSchema for Symbol {
    fn schema_name() -> Cow<'static, str> {
        "Symbol".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A ticker symbol as Finnhub writes it.",
            "minLength": 1,
            "maxLength": 64,
            "pattern": r"^(?!\.)(?!.*\.\.)[A-Za-z0-9.^:_=+&$!@-](?:[A-Za-z0-9 .^:_=+&$!@-]*[A-Za-z0-9.^:_=+&$!@-])?$",
            "examples": ["AAPL", "BRK.B", "BINANCE:BTCUSDT"]
        })
    }
}

/// The schemas of the answers and of the parameters.
pub struct Generators {
    answers: SchemaGenerator,
    parameters: SchemaGenerator,
}

/// A question's path and its description.
pub type Describe = fn(&mut Generators) -> (String, Value);

pub fn describe<Q: Examples + JsonSchema>(generators: &mut Generators) -> (String, Value)
where
    Q::Answer: JsonSchema,
{
    let answer = generators.answers.subschema_for::<Q::Answer>();
    let described = generators.answers.definitions()[&*Q::Answer::schema_name()]["description"].as_str();
    // Its first sentence.
    let summary = described.unwrap_or_default().split(['.', ',']).next().unwrap_or_default().to_owned();
    let asked = Q::json_schema(&mut generators.parameters);
    let mut parameters: Vec<Value> = asked
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(name, schema)| parameter(name, schema, &asked))
        .collect();
    let has_parameters = !parameters.is_empty();
    parameters.push(json!({ "$ref": "#/components/parameters/IfNoneMatch" }));
    let examples: Map<String, Value> = Q::examples()
        .into_iter()
        .map(|(name, answer)| (name.to_owned(), json!({ "value": answer })))
        .collect();
    let mut responses = json!({
        "200": {
            "description": summary,
            "headers": caching(),
            "content": { "application/json": { "schema": answer, "examples": examples } }
        },
        "304": { "$ref": "#/components/responses/NotModified" },
        "503": { "$ref": "#/components/responses/Unavailable" }
    });
    if has_parameters {
        responses["400"] = json!({ "$ref": "#/components/responses/BadRequest" });
    }
    let (first, rest) = Q::NAME.split_at(1);
    let operation = json!({
        "operationId": format!("get{}{rest}", first.to_uppercase()),
        "summary": summary,
        "parameters": parameters,
        "responses": responses
    });
    (format!("/api/{}", Q::NAME), json!({ "get": operation }))
}

/// A field of a question as a parameter of its path. A parameter that may be left out is never null.
fn parameter(name: &str, schema: &Value, asked: &Schema) -> Value {
    let mut schema = schema.clone();
    if let Ok(schema) = <&mut Schema>::try_from(&mut schema) {
        tidy(schema);
    }
    let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
    if let Some(choices) = schema["anyOf"].as_array() {
        schema = choices[0].clone();
    } else if let Some(kinds) = schema["type"].as_array() {
        schema["type"] = kinds[0].clone();
    }
    let required = asked.get("required").and_then(Value::as_array);
    json!({
        "name": name,
        "in": "query",
        "required": required.is_some_and(|names| names.contains(&json!(name))),
        "description": description,
        "schema": schema
    })
}

fn caching() -> Value {
    json!({
        "Cache-Control": { "$ref": "#/components/headers/CacheControl" },
        "ETag": { "$ref": "#/components/headers/ETag" },
        "Quoteflow-As-Of": { "$ref": "#/components/headers/AsOf" }
    })
}

/// Allows only the described members in an answer, makes a description one line, and removes the widths of Rust's
/// numbers.
fn tidy(schema: &mut Schema) {
    if schema.get("properties").is_some() && schema.get("additionalProperties").is_none() {
        schema.insert("additionalProperties".to_owned(), json!(false));
    }
    if schema
        .get("format")
        .is_some_and(|format| !["date", "date-time", "uri-reference"].iter().any(|kept| format == kept))
    {
        schema.remove("format");
    }
    if let Some(Value::String(description)) = schema.get_mut("description") {
        *description = description.split_whitespace().collect::<Vec<_>>().join(" ");
    }
}

fn document() -> String {
    let settings = || {
        SchemaSettings::draft2020_12()
            .with(|settings| settings.definitions_path = "/components/schemas".into())
            .with_transform(RecursiveTransform(tidy))
    };
    let mut generators = Generators {
        answers: settings().for_serialize().into_generator(),
        parameters: settings().into_generator(),
    };
    let mut paths: Map<String, Value> =
        questions::DESCRIBED.iter().map(|describe| describe(&mut generators)).collect();
    paths.insert(
        "/api/openapi.json".to_owned(),
        json!({ "get": {
            "operationId": "getDescription",
            "summary": "This description",
            "responses": { "200": {
                "description": "This description",
                "content": { "application/json": { "schema": { "type": "object" } } }
            } }
        } }),
    );
    let problem = generators.answers.subschema_for::<Details>();
    let mut schemas = generators.answers.take_definitions(true);
    schemas.append(&mut generators.parameters.take_definitions(true));
    let refused = |title: &str, status: u16, detail: &str| {
        let example = json!({ "type": "about:blank", "title": title, "status": status, "detail": detail });
        json!({ "application/problem+json": { "schema": problem, "examples": { title: { "value": example } } } })
    };
    let document = json!({
        "openapi": "3.1.1",
        "info": {
            "title": "Quoteflow dashboard",
            "version": "1.0.0",
            "summary": "Stock quotes as the gold tables hold them.",
            "description": "Read only. Prices are in the instrument's currency. An unknown path is answered 404 and a method \
                            other than GET or HEAD 405, each with problem details.",
            "license": { "name": "MIT", "identifier": "MIT" }
        },
        "servers": [{ "url": "/", "description": "Where the page was loaded from." }],
        "security": [],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "parameters": {
                "IfNoneMatch": {
                    "name": "If-None-Match",
                    "in": "header",
                    "required": false,
                    "description": "ETag of the answer that the client has.",
                    "schema": { "type": "string" }
                }
            },
            "headers": {
                "CacheControl": {
                    "required": true,
                    "description": "How many seconds the answer may be used without asking again.",
                    "schema": {
                        "type": "string",
                        "pattern": r"^public, max-age=\d+$",
                        "examples": ["public, max-age=2"]
                    }
                },
                "ETag": {
                    "required": true,
                    "description": "Strong validator of the answer's bytes.",
                    "schema": { "type": "string", "pattern": "^\"[^\"]+\"$" }
                },
                "RetryAfter": {
                    "required": true,
                    "description": "Seconds after which to ask again.",
                    "schema": { "type": "integer", "minimum": 1 }
                },
                "AsOf": {
                    "description": "Everything that was loaded up to this moment is in the answer. RFC 3339, UTC; for a snapshot, \
                                    each part's name and its moment, as in `kpi=\"2026-08-03T14:05:12Z\", \
                                    candles=\"2026-08-03T14:05:00Z\"`. It is not part of the body, so that what did not change \
                                    is 304.",
                    "schema": { "type": "string" }
                }
            },
            "responses": {
                "NotModified": { "description": "The client's answer is still right.", "headers": caching() },
                "BadRequest": {
                    "description": "A parameter is missing or has no meaning.",
                    "content": refused("Bad Request", 400, "interval is \"2m\"; it must be one of 1m, 5m, 15m, 1h, 1d")
                },
                "Unavailable": {
                    "description": "The warehouse does not answer.",
                    "headers": { "Retry-After": { "$ref": "#/components/headers/RetryAfter" } },
                    "content": refused("Service Unavailable", 503, "the warehouse does not answer")
                }
            }
        }
    });
    format!("{document:#}\n")
}

#[test]
fn openapi_json_is_what_the_types_say() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let document = document();
    if std::env::var_os("OPENAPI").is_some_and(|asked| asked == "write") {
        fs::write(&file, &document).unwrap();
    }
    let is_same = fs::read_to_string(&file).unwrap() == document;
    assert!(is_same, "functions/serve-dashboard/openapi.json is not what the types say: run `make openapi`");
}
