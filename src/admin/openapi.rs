//! The OpenAPI 3.1 document of the API, made from the table of operations and the types.

use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use super::explain::Explanation;
use super::filter::{Filter, moment_schema};
use super::live::{BackendList, ConfigState, RouteList};
use super::operation::{BASE, Keys, Operation, ROWS, Row};
use super::problem::Problem;
use super::query::known;
use super::replay::{NewReplay, Replay};
use super::sources::{
    NewAcceptance, NewPause, NewRange, NewState, SourceList, SourceView, StateList,
};
use super::wire::{
    ActList, AttemptList, Cancelled, Event, EventList, Made, NewDelivery, ReplayList, TailLine,
};
use crate::access::Level;

/// The name of an operation.
pub(super) fn name(operation: Operation) -> String {
    let words = format!("{operation:?}");
    let mut name = String::new();
    for (index, c) in words.chars().enumerate() {
        if c.is_ascii_uppercase() && index > 0 {
            name.push('_');
        }
        name.push(c.to_ascii_lowercase());
    }
    name
}

/// The document.
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut schemas = settings.into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for row in &ROWS {
        let path = format!("{BASE}{}", row.path);
        let operations = paths.entry(path).or_insert_with(|| json!({}));
        if let Some(operations) = operations.as_object_mut() {
            let method = row.method.to_ascii_lowercase();
            operations.insert(method, described(row, &mut schemas));
        }
    }
    let components: Map<String, Value> = schemas.take_definitions(true).into_iter().collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Hookgate",
            "version": "1",
            "description": "What a Hookgate gateway has taken, what became of it, and how to repair it.",
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}, {"local": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "One of admin.tokens.",
                },
                "local": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Hookgate-Admin",
                    "description": "Without admin.tokens: 1, from this machine. Only what changes \
                                    something needs it.",
                },
            },
        },
    })
}

fn described(row: &Row, schemas: &mut SchemaGenerator) -> Value {
    let mut described = json!({
        "operationId": name(row.operation),
        "summary": row.summary,
        "x-access": match row.level {
            Level::Read => "read",
            Level::Full => "full",
        },
        "parameters": parameters(row, schemas),
        "responses": {
            success_status(row.operation): answer(row.operation, schemas),
            "default": {
                "description": "What was wrong",
                "content": {
                    "application/problem+json": {"schema": schemas.subschema_for::<Problem>()},
                },
            },
        },
    });
    let body = match row.operation {
        Operation::BeginReplay => Some((schemas.subschema_for::<NewReplay>(), true)),
        Operation::ReplayEvent => Some((schemas.subschema_for::<NewDelivery>(), false)),
        Operation::PauseSource => Some((schemas.subschema_for::<NewPause>(), false)),
        Operation::AcceptSource => Some((schemas.subschema_for::<NewAcceptance>(), false)),
        Operation::ReplaySource => Some((schemas.subschema_for::<NewRange>(), true)),
        Operation::PutSourceState => Some((schemas.subschema_for::<NewState>(), true)),
        _ => None,
    };
    if let (Some((schema, required)), Some(described)) = (body, described.as_object_mut()) {
        let content = json!({"application/json": {"schema": schema}});
        let body = json!({"required": required, "content": content});
        described.insert("requestBody".to_owned(), body);
    }
    described
}

fn success_status(operation: Operation) -> &'static str {
    match operation {
        Operation::BeginReplay => "2XX",
        _ => "200",
    }
}

fn answer(operation: Operation, schemas: &mut SchemaGenerator) -> Value {
    let schema = match operation {
        Operation::ListEvents | Operation::ListDead => schemas.subschema_for::<EventList>(),
        Operation::ShowEvent => schemas.subschema_for::<Event>(),
        Operation::EventAttempts => schemas.subschema_for::<AttemptList>(),
        Operation::ExplainEvent => schemas.subschema_for::<Explanation>(),
        Operation::ReplayEvent | Operation::RetryDelivery => schemas.subschema_for::<Made>(),
        Operation::CancelDelivery => schemas.subschema_for::<Cancelled>(),
        Operation::BeginReplay
        | Operation::ShowReplay
        | Operation::PauseReplay
        | Operation::ResumeReplay
        | Operation::CancelReplay => schemas.subschema_for::<Replay>(),
        Operation::ListReplays => schemas.subschema_for::<ReplayList>(),
        Operation::ListRoutes | Operation::PauseRoute | Operation::ResumeRoute => {
            schemas.subschema_for::<RouteList>()
        }
        Operation::ListBackends | Operation::PauseBackend | Operation::ResumeBackend => {
            schemas.subschema_for::<BackendList>()
        }
        Operation::ListSources => schemas.subschema_for::<SourceList>(),
        Operation::SourceState | Operation::PutSourceState => schemas.subschema_for::<StateList>(),
        Operation::RunSource
        | Operation::PauseSource
        | Operation::ResumeSource
        | Operation::AcceptSource
        | Operation::ReplaySource
        | Operation::ResetSource => schemas.subschema_for::<SourceView>(),
        Operation::ListActs => schemas.subschema_for::<ActList>(),
        Operation::ShowConfig => schemas.subschema_for::<ConfigState>(),
        Operation::Document => return content("application/json", json!({"type": "object"})),
        Operation::EventBody => return content("application/octet-stream", json!({})),
        Operation::Tail => {
            // Each event's data is one of these.
            let line = schemas.subschema_for::<TailLine>();
            let mut answer = content("text/event-stream", json!({"type": "string"}));
            if let Some(answer) = answer.as_object_mut() {
                answer.insert("x-data".to_owned(), line.to_value());
            }
            return answer;
        }
    };
    content("application/json", schema.to_value())
}

fn content(media: &str, schema: Value) -> Value {
    json!({"description": "Done", "content": {media: {"schema": schema}}})
}

fn parameters(row: &Row, schemas: &mut SchemaGenerator) -> Vec<Value> {
    let in_path = row
        .path
        .split('/')
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
    let in_path = in_path.map(|name| {
        let schema = match name {
            "id" => json!({"type": "string", "format": "uuid"}),
            "slot" => json!({"type": "integer", "minimum": 0, "maximum": 65535}),
            _ => json!({"type": "string", "minLength": 1}),
        };
        json!({"name": name, "in": "path", "required": true, "schema": schema})
    });
    let in_query = known(row.query).into_iter().map(|key| {
        let schema = match key {
            "page" if row.query == Keys::Pages => {
                json!({"type": "string", "pattern": "^[0-9]{1,18}$"})
            }
            "page" => json!({"type": "string", "pattern": "^[0-9]{1,9}-[0-9]{1,18}$"}),
            "since" | "until" => moment_schema(schemas).to_value(),
            "limit" => json!({"type": "integer", "minimum": 1, "maximum": 500, "default": 50}),
            "state" if row.operation == Operation::ListDead => json!({"enum": ["dead"]}),
            "state" => json!({"enum": ["pending", "leased", "delivered", "dead"]}),
            "verdict" if row.query == Keys::Events => json!({"enum": ["accepted", "refused"]}),
            _ => json!({"type": "string"}),
        };
        let of_filter = Filter::KEYS.iter().find(|(name, _)| *name == key);
        let description = match (key, of_filter) {
            ("page", _) => "What an earlier answer gave as `next`.",
            ("limit", _) => "The most entries.",
            (_, Some((_, description))) => description,
            _ => "Only lines of it.",
        };
        json!({"name": key, "in": "query", "description": description, "schema": schema})
    });
    in_path.chain(in_query).collect()
}
