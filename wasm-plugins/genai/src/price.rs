//! What tokens cost.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

/// For a million tokens each, in whatever currency the table is in.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Price {
    /// Of the input.
    #[schemars(range(min = 0))]
    input: f64,
    /// Of the output. Default: 0, as for embeddings.
    #[serde(default)]
    #[schemars(range(min = 0))]
    output: f64,
    /// Of input that was read from the provider's cache. Default: as `input`.
    #[schemars(range(min = 0))]
    cache_read: Option<f64>,
    /// Of input that was written to the provider's cache. Default: as `input`.
    #[schemars(range(min = 0))]
    cache_write: Option<f64>,
}

/// Tokens that a provider counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// All input, with what came from the cache or went there.
    pub(crate) input: Option<i64>,
    /// All output, with what was reasoned.
    pub(crate) output: Option<i64>,
    pub(crate) cache_read: Option<i64>,
    pub(crate) cache_write: Option<i64>,
    pub(crate) reasoning: Option<i64>,
}

/// Prices by model, or by the beginning of its name with `*` behind it.
#[derive(Debug, Default)]
pub(crate) struct Prices(BTreeMap<String, Price>);

impl Prices {
    pub(crate) fn new(prices: BTreeMap<String, Price>) -> Result<Self, String> {
        for (model, price) in &prices {
            let of = [
                Some(price.input),
                Some(price.output),
                price.cache_read,
                price.cache_write,
            ];
            if of
                .into_iter()
                .flatten()
                .any(|price| !(0.0..=1e9).contains(&price))
            {
                return Err(format!("prices: {model}: not a price"));
            }
            if model.is_empty() || model.trim_end_matches('*').contains('*') {
                return Err(format!(
                    "prices: {model:?}: a model's name, or its beginning and `*`"
                ));
            }
        }
        Ok(Self(prices))
    }

    /// Of a model: its own, or that of the longest beginning.
    fn of(&self, model: &str) -> Option<&Price> {
        self.0.get(model).or_else(|| {
            let fits = |pattern: &&String| {
                let beginning = pattern.strip_suffix('*');
                beginning.is_some_and(|beginning| model.starts_with(beginning))
            };
            let longest = self
                .0
                .keys()
                .filter(fits)
                .max_by_key(|pattern| pattern.len());
            self.0.get(longest?)
        })
    }

    /// Of a call, by the first of these models that has a price.
    #[allow(clippy::cast_precision_loss, reason = "nobody has 2^53 tokens")]
    pub(crate) fn cost(&self, models: [Option<&str>; 2], usage: &Usage) -> Option<f64> {
        let price = models
            .into_iter()
            .flatten()
            .find_map(|model| self.of(model))?;
        if usage.input.is_none() && usage.output.is_none() {
            return None;
        }
        let [input, output, read, write] = [
            usage.input,
            usage.output,
            usage.cache_read,
            usage.cache_write,
        ]
        .map(|tokens| tokens.unwrap_or(0).max(0) as f64);
        let fresh = (input - read - write).max(0.0);
        let tokens = fresh * price.input
            + read * price.cache_read.unwrap_or(price.input)
            + write * price.cache_write.unwrap_or(price.input)
            + output * price.output;
        Some(tokens / 1e6)
    }
}
