//! The configuration: what is in force, a part of it as a form, and changes to its file.

use std::sync::Arc;

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::task::JoinError;

use super::{Answer, Parameters, Problem};
use crate::admin::{body, guard};
use crate::app::App;
use crate::app::history::Load;
use crate::config::{self, Document, Edit, Edited, Faults, Field, Line};

/// One save after the other.
static SAVING: Mutex<()> = Mutex::const_new(());

/// Changes to the file.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Changes {
    /// Of the text that the form was made from; a change in between is a conflict.
    digest: String,
    edits: Vec<Edit>,
}

/// An exporter to try.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Trial {
    exporter: String,
    #[serde(default)]
    edits: Vec<Edit>,
}

/// A part of the configuration, key by key.
#[derive(Serialize, JsonSchema)]
pub(super) struct Form {
    /// Of the file's text, to be given back with changes.
    digest: String,
    /// Why nothing can be saved, where nothing can.
    read_only: Option<String>,
    fields: Vec<Field>,
}

/// What is in force.
#[derive(Serialize, JsonSchema)]
pub(super) struct Effective {
    file: String,
    generation: u64,
    /// Why nothing can be saved, where nothing can.
    read_only: Option<String>,
    /// Why no reload can be asked for from here, where none can.
    no_reload: Option<String>,
    /// As YAML, with the source of each value in a comment; `null` where the file has faults.
    text: Option<String>,
    faults: Vec<Fault>,
    /// Whether the file says something else than what is served.
    pending: bool,
    /// From what is served to the file.
    difference: Vec<Line>,
    /// The newest first.
    loads: Vec<Load>,
}

/// What is wrong with a configuration, or should be known of it.
#[derive(Serialize, JsonSchema)]
struct Fault {
    /// Such as `WEIR-C004`.
    code: &'static str,
    severity: config::fault::Severity,
    /// The key's, such as `routes[0].upstream`.
    path: String,
    /// 0 outside the file.
    line: u64,
    message: String,
    /// The way out, where there is one to tell.
    hint: Option<String>,
}

/// What changes would do.
#[derive(Serialize, JsonSchema)]
pub(super) struct Preview {
    /// Whether the file is not any more what the form was made from.
    conflict: bool,
    /// Of the file's text of now.
    digest: String,
    difference: Vec<Line>,
    /// Whether anything changes, be it a secret that is not shown.
    changes: bool,
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
    read_only: Option<String>,
}

/// What was saved, and is served.
#[derive(Serialize, JsonSchema)]
pub(super) struct Saved {
    generation: u64,
    difference: Vec<Line>,
}

/// Why nothing was saved.
#[derive(Serialize, JsonSchema)]
pub(super) struct Faulty {
    faults: Vec<Fault>,
    difference: Vec<Line>,
}

/// What came of a trial.
#[derive(Serialize, JsonSchema)]
pub(super) struct Probed {
    ok: bool,
    /// What was found; `null` where the configuration has faults.
    message: Option<String>,
    faults: Vec<Fault>,
}

fn document(app: &App) -> Result<&Document, Problem> {
    let why = "this configuration does not come from a file";
    app.document()
        .ok_or_else(|| Problem::new(StatusCode::CONFLICT, why))
}

fn faulty(faults: &Faults) -> Problem {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        faults.report(config::report::Format::Text),
    )
}

pub(super) fn effective(app: &App) -> Result<Answer, Problem> {
    let generation = app.generation();
    let document = document(app)?;
    let file = document.file.display().to_string();
    let (text, faults) = match document.effective() {
        Ok(text) => (Some(text), Vec::new()),
        Err(faults) => (None, told(&faults)),
    };
    // What is served is not what is written: nobody asked for a reload, or it failed.
    let pending = document
        .load()
        .is_ok_and(|loaded| loaded.config != generation.config);
    let difference = match document.read() {
        Ok(now) if pending || !faults.is_empty() => app
            .history()
            .with_served(|served| document.difference(served, &now)),
        _ => None,
    };
    let answer = Effective {
        file,
        generation: generation.number,
        read_only: guard::may_save(app).err(),
        no_reload: guard::may_act(app).err(),
        text,
        faults,
        pending,
        difference: difference.unwrap_or_default(),
        loads: app.history().loads(),
    };
    Ok(body(StatusCode::OK, &answer))
}

pub(super) async fn form(app: &App, parameters: &Parameters) -> Result<Answer, Problem> {
    let at = parameters.0.iter().filter(|(name, _)| name == "at");
    let at: Vec<&str> = at.map(|(_, key)| key.as_str()).collect();
    let document = document(app)?;
    let text = document.read().map_err(|faults| faulty(&faults))?;
    let config = match at.as_slice() {
        ["plugins", key] => plugin_schema(app, key).await,
        _ => None,
    };
    let fields = document
        .form(&text, &at, config.as_ref())
        .map_err(|faults| faulty(&faults))?;
    let form = Form {
        digest: text.digest,
        read_only: guard::may_save(app).err(),
        fields,
    };
    Ok(body(StatusCode::OK, &form))
}

/// The schema that a plugin has for its configuration. The guest is asked for it, so on a thread that
/// may wait.
async fn plugin_schema(app: &App, key: &str) -> Option<Value> {
    let plugin = Arc::clone(app.generation().plugins.get(key)?.first());
    let asked = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .ok()?;
        let schema = runtime.block_on(plugin.config_schema()).ok();
        // A resolver that gives no answer is not waited for.
        runtime.shutdown_background();
        schema
    });
    serde_json::from_str(&asked.await.ok()??).ok()
}

pub(super) fn preview(app: &App, changes: Changes) -> Result<Answer, Problem> {
    let document = document(app)?;
    let text = document.read().map_err(|faults| faulty(&faults))?;
    let edited = edit(document, &text, &changes.edits)?;
    let (faults, warnings) = judged(&edited);
    let answer = Preview {
        conflict: text.digest != changes.digest,
        changes: edited.changes(&text),
        digest: text.digest,
        difference: edited.difference,
        faults,
        warnings,
        read_only: guard::may_save(app).err(),
    };
    Ok(body(StatusCode::OK, &answer))
}

pub(super) async fn save(app: &Arc<App>, changes: Changes) -> Result<Answer, Problem> {
    guard::may_save(app).map_err(|why| Problem::new(StatusCode::FORBIDDEN, why))?;
    let one = SAVING.lock().await;
    let document = document(app)?;
    let text = document.read().map_err(|faults| faulty(&faults))?;
    if text.digest != changes.digest {
        let why = "the file was changed by somebody else meanwhile: look at it anew";
        return Err(Problem::new(StatusCode::CONFLICT, why));
    }
    let edited = edit(document, &text, &changes.edits)?;
    if let Err(faults) = &edited.outcome {
        let answer = Faulty {
            faults: told(faults),
            difference: edited.difference,
        };
        return Ok(body(StatusCode::UNPROCESSABLE_ENTITY, &answer));
    }
    let (app, keys) = (Arc::clone(app), changes.edits.len());
    // A client that leaves would end it between the file and the reload, or before the file is put back.
    let whole = tokio::spawn(async move {
        let _one = one;
        put_in_force(&app, &text, &edited, keys).await
    });
    let lost = |error: JoinError| Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error));
    whole.await.unwrap_or_else(lost)
}

/// Writes an edited text and loads it; what cannot be loaded is taken back.
async fn put_in_force(
    app: &App,
    text: &config::Text,
    edited: &Edited,
    keys: usize,
) -> Result<Answer, Problem> {
    let failed = |error: std::io::Error| {
        let why = format!("the file could not be written: {error}");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, why)
    };
    let document = document(app)?;
    document.write(edited).map_err(failed)?;
    match app.reload().await {
        Ok(generation) => {
            tracing::info!(generation, keys, "configuration saved");
            let answer = Saved {
                generation,
                difference: edited.difference.clone(),
            };
            Ok(body(StatusCode::OK, &answer))
        }
        Err(error) => {
            if !document.restore(text, edited).map_err(failed)? {
                tracing::error!(%error, "a saved configuration could not be loaded; others changed the file meanwhile");
                let why = format!(
                    "the file was changed by somebody else meanwhile, and stays so: {error}"
                );
                return Err(Problem::new(StatusCode::CONFLICT, why));
            }
            tracing::error!(%error, "a saved configuration could not be loaded; the file is as before");
            let why = format!("nothing was saved, for it could not be loaded: {error}");
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, why))
        }
    }
}

fn edit(document: &Document, text: &config::Text, edits: &[Edit]) -> Result<Edited, Problem> {
    document
        .edit(text, edits)
        .map_err(|error| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error))
}

/// Faults and warnings.
fn judged(edited: &Edited) -> (Vec<Fault>, Vec<Fault>) {
    match &edited.outcome {
        Ok(loaded) => (Vec::new(), told(&loaded.warnings)),
        Err(faults) => (told(faults), Vec::new()),
    }
}

fn told(faults: &Faults) -> Vec<Fault> {
    let told = |fault: &config::fault::Fault| Fault {
        code: fault.code.as_str(),
        severity: fault.severity(),
        path: fault.path.clone(),
        line: fault.place.line,
        message: fault.message.clone(),
        hint: fault.hint.clone(),
    };
    faults.list.iter().map(told).collect()
}

/// Connects as an exporter would with these changes, and asks whether traces would be taken.
pub(super) async fn test_exporter(app: &Arc<App>, trial: Trial) -> Result<Answer, Problem> {
    let exporter = if trial.edits.is_empty() {
        app.generation()
            .config
            .exporters
            .get(&trial.exporter)
            .cloned()
    } else {
        let document = document(app)?;
        let text = document.read().map_err(|faults| faulty(&faults))?;
        match edit(document, &text, &trial.edits)?.outcome {
            Ok(mut loaded) => loaded.config.exporters.swap_remove(&trial.exporter),
            Err(faults) => {
                let answer = Probed {
                    ok: false,
                    message: None,
                    faults: told(&faults),
                };
                return Ok(body(StatusCode::OK, &answer));
            }
        }
    };
    let exporter = exporter.ok_or_else(|| Problem::missing("exporter of that name"))?;
    let tried = tokio::task::spawn_blocking(move || exporter.probe()).await;
    let (ok, message) = match tried {
        Ok(Ok(said)) => (true, said),
        Ok(Err(problem)) => (false, problem),
        Err(panic) => (false, panic.to_string()),
    };
    let answer = Probed {
        ok,
        message: Some(message),
        faults: Vec::new(),
    };
    Ok(body(StatusCode::OK, &answer))
}
