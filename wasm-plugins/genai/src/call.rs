//! What kind of call a request is, by its path and by what its body has.

use weir_sdk::http::Method;

/// An API, as its path tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    /// OpenAI's chat completions.
    Chat,
    /// OpenAI's completions, the older ones.
    Completions,
    /// OpenAI's responses.
    Responses,
    /// OpenAI's embeddings.
    Embeddings,
    /// Anthropic's messages.
    Messages,
}

impl Api {
    const ALL: [Self; 5] = [
        Self::Chat,
        Self::Completions,
        Self::Responses,
        Self::Embeddings,
        Self::Messages,
    ];

    /// Whatever stands before the API's own part of the path: providers have prefixes, and so may
    /// the route.
    pub(crate) fn of(method: &Method, path: &str) -> Option<Self> {
        if method != Method::POST {
            return None;
        }
        let path = path.trim_end_matches('/');
        // The longest first: `/chat/completions` ends as `/completions` does.
        Self::ALL.into_iter().find(|api| path.ends_with(api.path()))
    }

    /// Of what it gave [`Api::path`] for.
    pub(crate) fn by_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|api| api.path() == path)
    }

    /// The end of its paths.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Chat => "/chat/completions",
            Self::Completions => "/completions",
            Self::Responses => "/responses",
            Self::Embeddings => "/embeddings",
            Self::Messages => "/v1/messages",
        }
    }

    /// `gen_ai.operation.name`.
    pub(crate) fn operation(self) -> &'static str {
        match self {
            Self::Chat | Self::Responses | Self::Messages => "chat",
            Self::Completions => "text_completion",
            Self::Embeddings => "embeddings",
        }
    }

    /// `gen_ai.provider.name`, where the operator names no other.
    pub(crate) fn provider(self) -> &'static str {
        match self {
            Self::Messages => "anthropic",
            _ => "openai",
        }
    }

    /// Whether a request's body with this member may be one of the API's: other services have paths
    /// such as `/responses` too.
    pub(crate) fn is_told_by(self, member: &str) -> bool {
        match self {
            Self::Chat | Self::Messages => member == "messages",
            Self::Completions => member == "prompt",
            Self::Responses => matches!(
                member,
                "input" | "prompt" | "previous_response_id" | "conversation"
            ),
            Self::Embeddings => member == "input",
        }
    }

    /// Whether the request must say a model: of the others a path may (Azure's deployments do), or a
    /// stored prompt.
    pub(crate) fn needs_model(self) -> bool {
        self == Self::Messages
    }
}

/// The deployment in a path of Azure's, which is what it has for a model.
pub(crate) fn deployment(path: &str) -> Option<&str> {
    let mut segments = path.split('/');
    segments.find(|segment| *segment == "deployments")?;
    segments.next().filter(|name| !name.is_empty())
}
