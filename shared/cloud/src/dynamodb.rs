//! The table on DynamoDB.

use std::collections::HashMap;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, Delete, Put, TransactWriteItem, Update,
};
use serde_json::{Map, Number, Value};

use crate::error::from_sdk;
use crate::{Action, CloudError, Condition, Connection, Index, Item, Key, Lazy, Table, Write};

/// A DynamoDB table.
#[derive(Clone, Debug)]
pub struct DynamoDb {
    client: Lazy<Client>,
    table: String,
}

impl DynamoDb {
    /// The table of this name.
    #[must_use]
    pub fn new(connection: &Connection, table: impl Into<String>) -> Self {
        Self {
            client: connection.client(Client::new),
            table: table.into(),
        }
    }
}

/// Placeholders of one expression.
#[derive(Default)]
struct Expression {
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Expression {
    fn name(&mut self, attribute: &str) -> String {
        if let Some((placeholder, _)) = self
            .names
            .iter()
            .find(|(_, name)| name.as_str() == attribute)
        {
            return placeholder.clone();
        }
        let placeholder = format!("#n{}", self.names.len());
        self.names.insert(placeholder.clone(), attribute.to_owned());
        placeholder
    }

    fn value(&mut self, value: &Value) -> String {
        let placeholder = format!(":v{}", self.values.len());
        self.values.insert(placeholder.clone(), to_attribute(value));
        placeholder
    }

    fn condition(&mut self, condition: &Condition) -> String {
        match condition {
            Condition::Absent(name) => format!("attribute_not_exists({})", self.name(name)),
            Condition::Present(name) => format!("attribute_exists({})", self.name(name)),
            Condition::Equals(name, value) => {
                format!("{} = {}", self.name(name), self.value(value))
            }
            Condition::Differs(name, value) => {
                let name = self.name(name);
                format!(
                    "(attribute_not_exists({name}) OR {name} <> {})",
                    self.value(value)
                )
            }
            Condition::LessThan(name, bound) => {
                format!("{} < {}", self.name(name), self.value(&Value::from(*bound)))
            }
            Condition::In(name, values) if values.is_empty() => {
                // DynamoDB has no empty list after IN; an attribute that is there and absent never is.
                let name = self.name(name);
                format!("(attribute_exists({name}) AND attribute_not_exists({name}))")
            }
            Condition::In(name, values) => {
                let name = self.name(name);
                let list: Vec<String> = values.iter().map(|value| self.value(value)).collect();
                format!("{name} IN ({})", list.join(", "))
            }
            Condition::Any(conditions) => {
                let parts: Vec<String> = conditions
                    .iter()
                    .map(|condition| self.condition(condition))
                    .collect();
                format!("({})", parts.join(" OR "))
            }
        }
    }

    fn conditions(&mut self, conditions: &[Condition]) -> Option<String> {
        let parts: Vec<String> = conditions
            .iter()
            .map(|condition| self.condition(condition))
            .collect();
        (!parts.is_empty()).then(|| parts.join(" AND "))
    }

    fn update(&mut self, set: &Item, remove: &[String], add: &[(String, i64)]) -> String {
        let mut clauses = Vec::new();
        if !set.is_empty() {
            let parts: Vec<String> = set
                .iter()
                .map(|(name, value)| format!("{} = {}", self.name(name), self.value(value)))
                .collect();
            clauses.push(format!("SET {}", parts.join(", ")));
        }
        if !remove.is_empty() {
            let parts: Vec<String> = remove.iter().map(|name| self.name(name)).collect();
            clauses.push(format!("REMOVE {}", parts.join(", ")));
        }
        if !add.is_empty() {
            let parts: Vec<String> = add
                .iter()
                .map(|(name, n)| format!("{} {}", self.name(name), self.value(&Value::from(*n))))
                .collect();
            clauses.push(format!("ADD {}", parts.join(", ")));
        }
        clauses.join(" ")
    }

    fn names(&self) -> Option<HashMap<String, String>> {
        (!self.names.is_empty()).then(|| self.names.clone())
    }

    fn values(&self) -> Option<HashMap<String, AttributeValue>> {
        (!self.values.is_empty()).then(|| self.values.clone())
    }
}

fn to_attribute(value: &Value) -> AttributeValue {
    match value {
        Value::Null => AttributeValue::Null(true),
        Value::Bool(b) => AttributeValue::Bool(*b),
        Value::Number(n) => AttributeValue::N(n.to_string()),
        Value::String(s) => AttributeValue::S(s.clone()),
        Value::Array(list) => AttributeValue::L(list.iter().map(to_attribute).collect()),
        Value::Object(map) => AttributeValue::M(
            map.iter()
                .map(|(name, value)| (name.clone(), to_attribute(value)))
                .collect(),
        ),
    }
}

fn from_attribute(attribute: &AttributeValue) -> Value {
    match attribute {
        AttributeValue::Bool(b) => Value::Bool(*b),
        AttributeValue::S(s) => Value::String(s.clone()),
        AttributeValue::N(n) => n
            .parse::<i64>()
            .map(Value::from)
            .or_else(|_| n.parse::<u64>().map(Value::from))
            .ok()
            .or_else(|| {
                n.parse::<f64>()
                    .ok()
                    .and_then(Number::from_f64)
                    .map(Value::Number)
            })
            .unwrap_or(Value::Null),
        AttributeValue::L(list) => Value::Array(list.iter().map(from_attribute).collect()),
        AttributeValue::M(map) => {
            // DynamoDB keeps no order; sorted, the same item reads the same everywhere.
            let mut names: Vec<&String> = map.keys().collect();
            names.sort();
            let mut object = Map::new();
            for name in names {
                if let Some(value) = map.get(name) {
                    object.insert(name.clone(), from_attribute(value));
                }
            }
            Value::Object(object)
        }
        // We write neither sets nor binary values.
        _ => Value::Null,
    }
}

fn item_of(attributes: &HashMap<String, AttributeValue>) -> Item {
    let mut item = Item::new();
    let mut names: Vec<&String> = attributes.keys().collect();
    names.sort();
    for name in names {
        if let Some(attribute) = attributes.get(name) {
            item.insert(name.clone(), from_attribute(attribute));
        }
    }
    item
}

fn key_attributes(key: &Key) -> HashMap<String, AttributeValue> {
    HashMap::from([
        ("PK".to_owned(), AttributeValue::S(key.partition.clone())),
        ("SK".to_owned(), AttributeValue::S(key.sort.clone())),
    ])
}

fn put_attributes(key: &Key, item: &Item) -> HashMap<String, AttributeValue> {
    let mut attributes: HashMap<String, AttributeValue> = item
        .iter()
        .map(|(name, value)| (name.clone(), to_attribute(value)))
        .collect();
    attributes.extend(key_attributes(key));
    attributes
}

fn resource(key: &Key) -> String {
    format!("{} {}", key.partition, key.sort)
}

fn condition_or(error: CloudError) -> CloudError {
    if error.is_code("ConditionalCheckFailedException") {
        CloudError::ConditionFailed { position: 0 }
    } else if error.is_code("TransactionConflictException") {
        CloudError::Conflict
    } else {
        error
    }
}

#[async_trait]
impl Table for DynamoDb {
    async fn get(&self, key: &Key) -> Result<Option<Item>, CloudError> {
        let output = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key_attributes(key)))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| from_sdk("dynamodb:GetItem", &resource(key), &error))?;
        Ok(output.item().map(item_of))
    }

    async fn query(&self, partition: &str, prefix: &str) -> Result<Vec<Item>, CloudError> {
        let mut items = Vec::new();
        let mut start = None;
        loop {
            let mut request = self
                .client
                .query()
                .table_name(&self.table)
                .consistent_read(true)
                .expression_attribute_names("#p", "PK")
                .expression_attribute_values(":p", AttributeValue::S(partition.to_owned()))
                .set_exclusive_start_key(start);
            request = if prefix.is_empty() {
                request.key_condition_expression("#p = :p")
            } else {
                request
                    .key_condition_expression("#p = :p AND begins_with(#s, :s)")
                    .expression_attribute_names("#s", "SK")
                    .expression_attribute_values(":s", AttributeValue::S(prefix.to_owned()))
            };
            let output = request
                .send()
                .await
                .map_err(|error| from_sdk("dynamodb:Query", partition, &error))?;
            items.extend(output.items().iter().map(item_of));
            start = output.last_evaluated_key().cloned();
            if start.is_none() {
                return Ok(items);
            }
        }
    }

    async fn query_after(
        &self,
        partition: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<Item>, CloudError> {
        let mut items = Vec::new();
        let mut after = after.to_owned();
        while items.len() < limit {
            let page = i32::try_from((limit - items.len()).min(1_000)).unwrap_or(1_000);
            let mut request = self
                .client
                .query()
                .table_name(&self.table)
                .consistent_read(true)
                .limit(page)
                .expression_attribute_names("#p", "PK")
                .expression_attribute_values(":p", AttributeValue::S(partition.to_owned()));
            // A key's value is never the empty text, nor may one be compared with it.
            request = if after.is_empty() {
                request.key_condition_expression("#p = :p")
            } else {
                request
                    .key_condition_expression("#p = :p AND #s > :s")
                    .expression_attribute_names("#s", "SK")
                    .expression_attribute_values(":s", AttributeValue::S(after.clone()))
            };
            let output = request
                .send()
                .await
                .map_err(|error| from_sdk("dynamodb:Query", partition, &error))?;
            items.extend(output.items().iter().map(item_of));
            match output.last_evaluated_key().and_then(|key| key.get("SK")) {
                Some(AttributeValue::S(last)) => after.clone_from(last),
                _ => break,
            }
        }
        Ok(items)
    }

    async fn query_index(
        &self,
        index: Index,
        partition: &str,
        limit: usize,
    ) -> Result<Vec<Item>, CloudError> {
        let mut items = Vec::new();
        let mut start = None;
        while items.len() < limit {
            let page = i32::try_from((limit - items.len()).min(1_000)).unwrap_or(1_000);
            let output = self
                .client
                .query()
                .table_name(&self.table)
                .index_name(index.name())
                .scan_index_forward(false)
                .limit(page)
                .key_condition_expression("#p = :p")
                .expression_attribute_names("#p", index.attribute())
                .expression_attribute_values(":p", AttributeValue::S(partition.to_owned()))
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(|error| from_sdk("dynamodb:Query", partition, &error))?;
            items.extend(output.items().iter().map(item_of));
            start = output.last_evaluated_key().cloned();
            if start.is_none() {
                break;
            }
        }
        Ok(items)
    }

    async fn write(&self, write: Write) -> Result<(), CloudError> {
        let mut expression = Expression::default();
        let condition = expression.conditions(&write.conditions);
        let name = resource(&write.key);
        match &write.action {
            Action::Put(item) => self
                .client
                .put_item()
                .table_name(&self.table)
                .set_item(Some(put_attributes(&write.key, item)))
                .set_condition_expression(condition)
                .set_expression_attribute_names(expression.names())
                .set_expression_attribute_values(expression.values())
                .send()
                .await
                .map(|_| ())
                .map_err(|error| condition_or(from_sdk("dynamodb:PutItem", &name, &error))),
            Action::Update { set, remove, add } => {
                let update = expression.update(set, remove, add);
                self.client
                    .update_item()
                    .table_name(&self.table)
                    .set_key(Some(key_attributes(&write.key)))
                    .set_update_expression((!update.is_empty()).then_some(update))
                    .set_condition_expression(condition)
                    .set_expression_attribute_names(expression.names())
                    .set_expression_attribute_values(expression.values())
                    .send()
                    .await
                    .map(|_| ())
                    .map_err(|error| condition_or(from_sdk("dynamodb:UpdateItem", &name, &error)))
            }
            Action::Delete => self
                .client
                .delete_item()
                .table_name(&self.table)
                .set_key(Some(key_attributes(&write.key)))
                .set_condition_expression(condition)
                .set_expression_attribute_names(expression.names())
                .set_expression_attribute_values(expression.values())
                .send()
                .await
                .map(|_| ())
                .map_err(|error| condition_or(from_sdk("dynamodb:DeleteItem", &name, &error))),
            Action::Check => self.transact(vec![write]).await,
        }
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<(), CloudError> {
        let mut items = Vec::with_capacity(writes.len());
        for write in &writes {
            items.push(transact_item(&self.table, write)?);
        }
        let name = writes
            .first()
            .map(|write| resource(&write.key))
            .unwrap_or_default();
        self.client
            .transact_write_items()
            .set_transact_items(Some(items))
            .send()
            .await
            .map(|_| ())
            .map_err(|error| transaction_error(&name, &error))
    }
}

fn transact_item(table: &str, write: &Write) -> Result<TransactWriteItem, CloudError> {
    let mut expression = Expression::default();
    let condition = expression.conditions(&write.conditions);
    let unreadable =
        |error: aws_smithy_types::error::operation::BuildError| CloudError::Unreadable {
            what: resource(&write.key),
            message: error.to_string(),
        };
    let item = TransactWriteItem::builder();
    Ok(match &write.action {
        Action::Put(attributes) => item.put(
            Put::builder()
                .table_name(table)
                .set_item(Some(put_attributes(&write.key, attributes)))
                .set_condition_expression(condition)
                .set_expression_attribute_names(expression.names())
                .set_expression_attribute_values(expression.values())
                .build()
                .map_err(unreadable)?,
        ),
        Action::Update { set, remove, add } => {
            let update = expression.update(set, remove, add);
            item.update(
                Update::builder()
                    .table_name(table)
                    .set_key(Some(key_attributes(&write.key)))
                    .update_expression(update)
                    .set_condition_expression(condition)
                    .set_expression_attribute_names(expression.names())
                    .set_expression_attribute_values(expression.values())
                    .build()
                    .map_err(unreadable)?,
            )
        }
        Action::Delete => item.delete(
            Delete::builder()
                .table_name(table)
                .set_key(Some(key_attributes(&write.key)))
                .set_condition_expression(condition)
                .set_expression_attribute_names(expression.names())
                .set_expression_attribute_values(expression.values())
                .build()
                .map_err(unreadable)?,
        ),
        Action::Check => item.condition_check(
            ConditionCheck::builder()
                .table_name(table)
                .set_key(Some(key_attributes(&write.key)))
                .condition_expression(condition.unwrap_or_default())
                .set_expression_attribute_names(expression.names())
                .set_expression_attribute_values(expression.values())
                .build()
                .map_err(unreadable)?,
        ),
    }
    .build())
}

fn transaction_error<R: std::fmt::Debug>(
    name: &str,
    error: &SdkError<TransactWriteItemsError, R>,
) -> CloudError {
    if let Some(TransactWriteItemsError::TransactionCanceledException(canceled)) =
        error.as_service_error()
    {
        let code_is = |wanted: &str| {
            canceled
                .cancellation_reasons()
                .iter()
                .position(|reason| reason.code() == Some(wanted))
        };
        if let Some(position) = code_is("ConditionalCheckFailed") {
            return CloudError::ConditionFailed { position };
        }
        if code_is("TransactionConflict").is_some() {
            return CloudError::Conflict;
        }
        if code_is("ThrottlingError")
            .or(code_is("ProvisionedThroughputExceeded"))
            .is_some()
        {
            return CloudError::Throttled {
                operation: "dynamodb:TransactWriteItems".to_owned(),
                message: "the transaction was throttled".to_owned(),
            };
        }
    }
    condition_or(from_sdk("dynamodb:TransactWriteItems", name, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_comes_back_from_attributes_as_it_went_in() {
        for value in [
            json!(null),
            json!(true),
            json!(-3),
            json!(1.5),
            json!("x"),
            json!([1, {"a": []}]),
            json!(u64::MAX),
        ] {
            assert_eq!(from_attribute(&to_attribute(&value)), value);
        }
    }

    #[test]
    fn conditions_become_placeholders_and_never_carry_text() {
        let mut expression = Expression::default();
        let text = expression.conditions(&[
            Condition::equals("status", "RUNNING' OR 1=1"),
            Condition::Any(vec![
                Condition::Absent("ending".to_owned()),
                Condition::LessThan("leaseUntil".to_owned(), 5),
            ]),
        ]);
        assert_eq!(
            text.unwrap(),
            "#n0 = :v0 AND (attribute_not_exists(#n1) OR #n2 < :v1)"
        );
    }
}
