//! What the flags of `tollgate keys create` and `tollgate tenants create` say, as a definition.
//!
//! Owns the flags that both have, and how a setting is written as `NAME=VALUE`. Does not handle what a definition may
//! have: the gateway that is asked refuses what is wrong. Fails with a text for the operator.

use clap::Args;
use serde_json::{Map, Value};

/// A setting of a mapping: its name and its value.
type Pair = (String, String);

/// What a tenant or a key has.
#[derive(Args)]
pub struct Definition {
    /// A note of the operator's, as in team=search; several times for several
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = pair)]
    labels: Vec<Pair>,
    /// A model that may be asked for, as in gpt-4o or "gpt-*"; several times for several
    #[arg(long = "model", value_name = "NAME")]
    models: Vec<String>,
    /// A limit, as in requests_per_minute=60 or concurrent=4; several times for several
    #[arg(long = "limit", value_name = "NAME=NUMBER", value_parser = pair)]
    limits: Vec<Pair>,
    /// Its quota: tokens a month, or as in tokens=500000,usd=20,per=week
    #[arg(long, value_name = "QUOTA", value_parser = quota)]
    quota: Option<Value>,
    /// From when on it does not hold, as in 2027-01-01 or 2027-01-01T12:00:00+01:00
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// It does not hold until it is enabled
    #[arg(long)]
    disabled: bool,
}

fn pair(text: &str) -> Result<Pair, String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

/// Settings as a mapping; a value that is a number is one.
pub fn mapping(pairs: impl IntoIterator<Item = Pair>) -> Value {
    let pairs = pairs.into_iter().map(|(name, value)| {
        let number = value.parse::<u64>().map(Value::from);
        (name, number.unwrap_or_else(|_| Value::from(value)))
    });
    Value::Object(pairs.collect())
}

impl Definition {
    /// Puts what is said into the body of a request.
    pub fn put_into(self, body: &mut Map<String, Value>) {
        if !self.labels.is_empty() {
            let labels = self.labels.into_iter();
            let labels = labels.map(|(name, value)| (name, Value::from(value)));
            body.insert("labels".to_owned(), Value::Object(labels.collect()));
        }
        if !self.models.is_empty() {
            body.insert("models".to_owned(), self.models.into());
        }
        if !self.limits.is_empty() {
            body.insert("limits".to_owned(), mapping(self.limits));
        }
        if let Some(quota) = self.quota {
            body.insert("quota".to_owned(), quota);
        }
        if let Some(expires) = self.expires {
            body.insert("expires".to_owned(), expires.into());
        }
        if self.disabled {
            body.insert("enabled".to_owned(), false.into());
        }
    }
}

/// A quota: a number of tokens a month, or settings as in tokens=500000,usd=20,per=month.
fn quota(text: &str) -> Result<Value, String> {
    if let Ok(tokens) = text.trim().parse::<u64>() {
        return Ok(tokens.into());
    }
    let pairs: Result<Vec<Pair>, String> = text.split(',').map(pair).collect();
    let pairs = pairs.map_err(|_| "expected tokens a month, or tokens=500000,usd=20,per=month")?;
    let mut names: Vec<&str> = pairs.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    if let Some(twice) = names
        .windows(2)
        .find_map(|two| (two.first() == two.last()).then(|| two.first()))
    {
        return Err(format!(
            "`{}` stands twice",
            twice.copied().unwrap_or_default()
        ));
    }
    Ok(mapping(pairs))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_quota_is_a_number_or_settings() {
        assert_eq!(quota("5000").unwrap(), json!(5000));
        let expected = json!({ "tokens": 500_000, "usd": "2.50", "per": "week" });
        assert_eq!(
            quota("tokens=500000, usd=2.50, per=week").unwrap(),
            expected
        );
        assert!(quota("plenty").is_err());
        let twice = quota("tokens=5,per=day,tokens=9").unwrap_err();
        assert_eq!(twice, "`tokens` stands twice");
    }

    #[test]
    fn flags_become_a_definition() {
        let definition = Definition {
            labels: vec![pair("year=2027").unwrap()],
            models: vec!["gpt-*".to_owned()],
            limits: vec![pair("rpm=60").unwrap(), pair("window=sliding").unwrap()],
            quota: Some(quota("5000").unwrap()),
            expires: Some("2027-01-01".to_owned()),
            disabled: true,
        };
        let mut body = Map::new();
        definition.put_into(&mut body);
        let expected = json!({
            "labels": { "year": "2027" }, "models": ["gpt-*"], "limits": { "rpm": 60, "window": "sliding" },
            "quota": 5_000, "expires": "2027-01-01", "enabled": false,
        });
        assert_eq!(Value::Object(body), expected);
        assert!(pair("nothing").is_err());
    }
}
