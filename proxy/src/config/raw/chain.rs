//! An item of a chain: `listeners[].plugins[]` and `routes[].plugins[]`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as Json;

/// What messages call it.
pub(in crate::config) const PLUGIN_USE: &str =
    "plugin's name, or a mapping of one name to what configures it here";

/// A plugin in a chain. What configures it is read from the tree.
pub(in crate::config) struct PluginUse {
    /// Empty where what stood here had its fault already.
    pub(in crate::config) plugin: String,
}

impl<'de> Deserialize<'de> for PluginUse {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let plugin = match Json::deserialize(deserializer)? {
            Json::String(name) => name,
            Json::Object(item) => item.into_iter().next().unwrap_or_default().0,
            _ => String::new(),
        };
        Ok(Self { plugin })
    }
}

impl Serialize for PluginUse {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.plugin)
    }
}

impl JsonSchema for PluginUse {
    fn schema_name() -> Cow<'static, str> {
        "PluginUse".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "title": PLUGIN_USE,
            "description": "A plugin's name; or a mapping of the name to keys that, in this chain, take the place of those of the plugin's `config`.",
            "type": ["string", "object"],
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": { "type": "object" },
            "examples": ["rate-limit", { "rate-limit": { "requests": 10 } }]
        })
    }
}
