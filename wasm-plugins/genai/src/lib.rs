//! Tells of calls to generative models what they were, what they used and what they cost: on the span of
//! the call to the upstream, which becomes `llm.call`, in the names of OpenTelemetry's semantic
//! conventions for generative AI.
//!
//! ```yaml
//! plugins:
//!   genai:
//!     module: builtin:genai
//!     on_error: continue               # what tells of a call must not fail it
//!     config:
//!       content: true                  # what was said too; false: only what it was and cost
//!       provider: openai               # default: `openai` or `anthropic`, by the API
//!       prices:                        # for a million tokens; no default
//!         gpt-4o: { input: 2.5, output: 10, cache_read: 1.25 }
//!         claude-sonnet-4*: { input: 3, output: 15, cache_read: 0.3, cache_write: 3.75 }
//!       max_bytes: 1048576             # the default: more of a body is not looked at whole
//! ```
//!
//! It knows OpenAI's chat completions, completions, responses and embeddings and Anthropic's messages,
//! and what other providers have that is the same, by the end of the path and by what the body has. Bodies
//! go by as they come, requests and responses, streams of events among them: it reads along, and changes
//! none. The one thing that it changes is `accept-encoding` of the requests it knows, to what Weir decodes
//! (gzip, deflate and zstd). As with every plugin that streams bodies decoded, those that it reads go on
//! without `content-length` and `content-encoding`.
//!
//! What a cut stream had until then is on its span, if not all of its text. The hooks' spans have
//! `genai.result`: of the request `call`, `other` (no such call) or `malformed`; of the response `whole`,
//! `stream`, `cut` (a stream that ended without saying so), `encoded`, `malformed` or `other`.

mod accept;
mod call;
mod events;
mod json;
mod messages;
mod price;
mod reply;
mod request;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use weir_sdk::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use weir_sdk::span::upstream::{self, Kind, set_attribute};
use weir_sdk::{
    Action, Chunk, Error, Flow, Interests, Plugin, Request, Response, clock, exchange, span,
};

use call::Api;
use events::Events;
use json::Members;
use price::{Price, Prices};
use reply::Reply;

/// The configuration of `genai`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Whether what was said to the model and by it is on the span too. Exporters may leave it out on
    /// their own (`disable_content_logging`). Default: true.
    #[serde(default = "yes")]
    content: bool,
    /// `gen_ai.provider.name`. Default: `openai` or `anthropic`, by the API.
    provider: Option<String>,
    /// What a million tokens cost, by model, or by the beginning of its name with `*` behind it. Default:
    /// none.
    #[serde(default)]
    prices: BTreeMap<String, Price>,
    /// Most bytes of a body, or of an event of a stream, that are held to be read. Of a larger body
    /// what comes within them is told of. Default: 1 MiB.
    #[serde(default = "mebibyte")]
    #[schemars(range(min = 1024, max = 16_777_216))]
    max_bytes: usize,
}

fn yes() -> bool {
    true
}

fn mebibyte() -> usize {
    1 << 20
}

/// The plugin.
pub struct GenAi {
    content: bool,
    provider: Option<String>,
    prices: Prices,
    max_bytes: usize,
    request: RefCell<Option<Asking>>,
    response: RefCell<Option<Replying>>,
}

/// A request whose body comes.
struct Asking {
    api: Api,
    /// What its path has for a model.
    deployment: Option<String>,
    members: Members,
}

/// A response whose body comes.
struct Replying {
    api: Api,
    /// The model that was asked for.
    model: Option<String>,
    /// When, by the monotonic clock.
    asked: Option<Duration>,
    form: Form,
    reply: Reply,
    /// Its status tells of an error.
    failed: bool,
    told: Told,
}

enum Form {
    Whole(Members),
    Stream(Events),
}

/// What is on the span of a stream already: what is told again each time it has doubled takes no more
/// than twice its room.
#[derive(Default)]
struct Told {
    first: bool,
    pieces: u32,
    known: usize,
    said: usize,
    /// That it is over.
    over: bool,
    /// All that there is, of one that is over.
    all: bool,
}

impl Plugin for GenAi {
    type Config = Config;

    fn new(config: Config) -> Result<Self, Error> {
        if !(1024..=16 << 20).contains(&config.max_bytes) {
            return Err("max_bytes: must be 1024 to 16777216".into());
        }
        if config.provider.as_deref().is_some_and(str::is_empty) {
            return Err("provider: must not be empty".into());
        }
        Ok(Self {
            content: config.content,
            provider: config.provider,
            prices: Prices::new(config.prices)?,
            max_bytes: config.max_bytes,
            request: RefCell::default(),
            response: RefCell::default(),
        })
    }

    fn interests(&self) -> Interests {
        Interests::none()
            .stream_request_body()
            .stream_response_body()
            .decoded()
    }

    fn on_request(&self, request: &mut Request) -> Action {
        let path = request.path();
        let api = Api::of(&request.method(), &path);
        let is_read = is_json(request.header(CONTENT_TYPE))
            && !is_encoded(request.header(CONTENT_ENCODING).as_deref());
        let Some(api) = api.filter(|_| is_read) else {
            span::set_attribute("genai.result", "other");
            request.skip_body();
            return Action::Continue;
        };
        if let Some(accepted) = request.header(ACCEPT_ENCODING)
            && let Some(less) = accept::acceptable(&accepted)
            && let Err(refused) = request.set_header(ACCEPT_ENCODING, less)
        {
            span::set_error(&refused.to_string());
        }
        exchange::set("api", api.path());
        exchange::set("asked", &clock::monotonic().as_nanos().to_string());
        let wanted = if self.content {
            request::wants
        } else {
            request::wants_little
        };
        *self.request.borrow_mut() = Some(Asking {
            api,
            deployment: call::deployment(&path).map(|name| reply::short(name).to_owned()),
            members: Members::new(self.max_bytes, wanted),
        });
        Action::Continue
    }

    fn on_request_body(&self, chunk: &mut Chunk) -> Flow {
        let mut request = self.request.borrow_mut();
        if let Some(asking) = &mut *request {
            asking.members.push(&chunk.data());
            if chunk.is_last()
                && let Some(asking) = request.take()
            {
                self.ask(&asking);
            }
        }
        Flow::Pass
    }

    fn on_response(&self, response: &mut Response) -> Action {
        let replying = self.replying(response);
        if let Err(result) = &replying {
            if let Some(result) = result {
                span::set_attribute("genai.result", *result);
            }
            response.skip_body();
        }
        *self.response.borrow_mut() = replying.ok();
        Action::Continue
    }

    fn on_response_body(&self, chunk: &mut Chunk) -> Flow {
        let mut response = self.response.borrow_mut();
        if let Some(replying) = &mut *response {
            replying.take(&chunk.data(), chunk.is_last());
            self.tell(replying, chunk.is_last());
            if chunk.is_last() {
                *response = None;
            }
        }
        Flow::Pass
    }
}

weir_sdk::export!(GenAi);

impl GenAi {
    /// A request's body is there.
    fn ask(&self, asking: &Asking) {
        let Asking { api, members, .. } = asking;
        let model = request::model(members).or(asking.deployment.as_deref());
        let is_call =
            members.has(|member| api.is_told_by(member)) && (model.is_some() || !api.needs_model());
        if !members.is_whole() || !is_call {
            let result = if members.is_whole() {
                "other"
            } else {
                "malformed"
            };
            span::set_attribute("genai.result", result);
            exchange::set("api", "");
            return;
        }
        span::set_attribute("genai.result", "call");
        if members.left_out > 0 {
            span::set_attribute("genai.left_out", members.left_out);
        }
        let operation = api.operation();
        match model {
            Some(model) => {
                upstream::describe(Kind::Llm, &format!("{operation} {model}"));
                set_attribute("gen_ai.request.model", model);
                exchange::set("model", model);
            }
            None => upstream::describe(Kind::Llm, operation),
        }
        set_attribute("gen_ai.operation.name", operation);
        let provider = self.provider.as_deref().unwrap_or(api.provider());
        set_attribute("gen_ai.provider.name", provider);
        request::parameters(*api, members);
        if self.content {
            request::content(*api, members);
        }
    }

    /// What is to be read of a response, or why it is not; nothing is said where the request was no
    /// call.
    fn replying(&self, response: &Response) -> Result<Replying, Option<&'static str>> {
        let api = exchange::get("api").and_then(|path| Api::by_path(&path));
        let api = api.ok_or(None)?;
        if is_encoded(response.header(CONTENT_ENCODING).as_deref()) {
            return Err(Some("encoded"));
        }
        let kind = response.header(CONTENT_TYPE);
        let form = if is_events(kind.as_deref()) {
            Form::Stream(Events::new(self.max_bytes))
        } else if kind.is_some() && is_json(kind) {
            Form::Whole(Members::new(self.max_bytes, Reply::wants))
        } else {
            return Err(Some("other"));
        };
        Ok(Replying {
            api,
            model: exchange::get("model"),
            asked: exchange::get("asked")
                .and_then(|time| time.parse().ok())
                .map(Duration::from_nanos),
            form,
            reply: Reply::new(self.content),
            failed: response.status().is_client_error() || response.status().is_server_error(),
            told: Told::default(),
        })
    }

    /// Notes what is known now, where it is worth it: a stream may be cut at any time, also behind what
    /// tells of its end.
    fn tell(&self, replying: &mut Replying, last: bool) {
        let Replying { reply, told, .. } = replying;
        let is_stream = matches!(replying.form, Form::Stream(_));
        if !is_stream && !last {
            return;
        }
        told.pieces += 1;
        let knew = told.known;
        told.known = knew.max(reply.known());
        if !last && told.known == knew && !told.pieces.is_power_of_two() {
            return;
        }
        let is_over = last || reply.is_over();
        if is_over {
            let result = match &replying.form {
                Form::Stream(_) if reply.is_over() => "stream",
                Form::Stream(_) => "cut",
                Form::Whole(members) if members.is_whole() => "whole",
                Form::Whole(_) => "malformed",
            };
            span::set_attribute("genai.result", result);
        }
        if std::mem::replace(&mut told.all, is_over) {
            return;
        }
        if let Some(error) = &reply.error {
            set_attribute("error.type", error);
            if !replying.failed {
                upstream::set_error(error);
            }
        }
        let service_tier = ("openai.response.service_tier", &reply.service_tier);
        for (name, text) in [
            ("gen_ai.response.id", &reply.id),
            ("gen_ai.response.model", &reply.model),
            ("openai.response.system_fingerprint", &reply.fingerprint),
            service_tier,
        ] {
            if let Some(text) = text
                && (!name.starts_with("openai.") || replying.api != Api::Messages)
            {
                set_attribute(name, text);
            }
        }
        let usage = &reply.usage;
        for (name, count) in [
            ("gen_ai.usage.input_tokens", usage.input),
            ("gen_ai.usage.output_tokens", usage.output),
            ("gen_ai.usage.cache_read.input_tokens", usage.cache_read),
            ("gen_ai.usage.cache_write.input_tokens", usage.cache_write),
            ("gen_ai.usage.reasoning.output_tokens", usage.reasoning),
        ] {
            if let Some(count) = count {
                set_attribute(name, count);
            }
        }
        let models = [reply.model.as_deref(), replying.model.as_deref()];
        if let Some(cost) = self.prices.cost(models, usage) {
            set_attribute("gen_ai.usage.cost", cost);
        }
        let reasons = reply.finish_reasons();
        if !reasons.is_empty() {
            set_attribute("gen_ai.response.finish_reasons", reasons);
        }
        let said = reply.said();
        let ends = last || (is_over && !std::mem::replace(&mut told.over, true));
        if self.content && (ends || said >= 2 * told.said.max(1)) {
            told.said = said;
            if let Some(messages) = reply.messages() {
                set_attribute("gen_ai.output.messages", messages);
            }
        }
    }
}

impl Replying {
    fn take(&mut self, piece: &[u8], last: bool) {
        let Self {
            api, form, reply, ..
        } = self;
        let mut came = false;
        match form {
            Form::Whole(members) => members.push(piece),
            Form::Stream(events) => events.push(piece, &mut |data| {
                came = true;
                reply.event(*api, data);
            }),
        }
        if last {
            match form {
                Form::Whole(members) => reply.read(*api, members),
                Form::Stream(events) => events.finish(&mut |data| {
                    came = true;
                    reply.event(*api, data);
                }),
            }
        }
        self.told.all &= !came;
        if came
            && !std::mem::replace(&mut self.told.first, true)
            && let Some(asked) = self.asked
        {
            let waited = clock::monotonic().saturating_sub(asked);
            set_attribute("gen_ai.response.time_to_first_chunk", waited.as_secs_f64());
        }
    }
}

/// Whether a body is said to be JSON; also where nothing is said of it.
fn is_json(kind: Option<String>) -> bool {
    let Some(kind) = kind else { return true };
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let kind = kind.to_ascii_lowercase();
    kind == "application/json" || kind.ends_with("+json")
}

/// Whether a body comes in what Weir does not decode.
fn is_encoded(encoding: Option<&str>) -> bool {
    let encoding = encoding.unwrap_or_default().trim();
    !encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity")
}

fn is_events(kind: Option<&str>) -> bool {
    let kind = kind.and_then(|kind| kind.split(';').next());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream"))
}

#[cfg(test)]
mod tests;
