//! The configuration: what is in force, a part of it as a form, and changes to its file.

use std::sync::Arc;

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::task::JoinError;

use super::{Answer, Parameters, Problem};
use crate::admin::{body, guard};
use crate::app::App;
use crate::config::{self, Document, Edit, Edited, Faults, Field};

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
        Err(faults) => (None, faults_json(&faults)),
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
    let answer = json!({
        "file": file,
        "generation": generation.number,
        "read_only": guard::may_save(app).err(),
        "text": text,
        "faults": faults,
        "pending": pending,
        "difference": difference.unwrap_or_default(),
        "loads": app.history().loads(),
    });
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
    let answer = json!({
        "conflict": text.digest != changes.digest,
        "digest": text.digest,
        "difference": edited.difference,
        "changes": edited.changes(&text),
        "faults": faults,
        "warnings": warnings,
        "read_only": guard::may_save(app).err(),
    });
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
        let answer = json!({ "faults": faults_json(faults), "difference": edited.difference });
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
            let answer = json!({ "generation": generation, "difference": edited.difference });
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
fn judged(edited: &Edited) -> (Vec<Value>, Vec<Value>) {
    match &edited.outcome {
        Ok(loaded) => (Vec::new(), faults_json(&loaded.warnings)),
        Err(faults) => (faults_json(faults), Vec::new()),
    }
}

fn faults_json(faults: &Faults) -> Vec<Value> {
    let json = |fault: &config::fault::Fault| {
        json!({
            "code": fault.code,
            "severity": fault.severity(),
            "path": fault.path,
            "line": fault.place.line,
            "message": fault.message,
            "hint": fault.hint,
        })
    };
    faults.list.iter().map(json).collect()
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
                let answer = json!({ "ok": false, "faults": faults_json(&faults) });
                return Ok(body(StatusCode::OK, &answer));
            }
        }
    };
    let exporter = exporter.ok_or_else(|| Problem::missing("exporter of that name"))?;
    let tried = tokio::task::spawn_blocking(move || exporter.probe()).await;
    let answer = match tried {
        Ok(Ok(said)) => json!({ "ok": true, "message": said }),
        Ok(Err(problem)) => json!({ "ok": false, "message": problem }),
        Err(panic) => json!({ "ok": false, "message": panic.to_string() }),
    };
    Ok(body(StatusCode::OK, &answer))
}
