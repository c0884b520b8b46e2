import { type ReactNode, useEffect, useId, useRef, useState } from "react";

/** The head of a page: what it is, and what can be done. */
export function Head({ title, note, children }: { title: ReactNode; note?: ReactNode; children?: ReactNode }) {
  return (
    <header className="head">
      <h1>{title}</h1>
      {note !== undefined && <span className="quiet">{note}</span>}
      <div className="actions">{children}</div>
    </header>
  );
}

/** Where nothing is to be seen: what to do about it. */
export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <section className="empty">
      <h2>{title}</h2>
      {children}
    </section>
  );
}

export function Failure({ error }: { error: Error }) {
  return (
    <p className="notice bad" role="alert">
      {error.message}
    </p>
  );
}

export function Loading() {
  return (
    <p className="quiet loading" role="status">
      Loading…
    </p>
  );
}

/** A figure with its name. */
export function Figure({ label, value, note }: { label: string; value: ReactNode; note?: ReactNode }) {
  return (
    <div className="figure">
      <dt>{label}</dt>
      <dd>
        <span>{value}</span>
        {note !== undefined && <small>{note}</small>}
      </dd>
    </div>
  );
}

export function Status({ status }: { status: number | null }) {
  if (status === null) {
    return (
      <span className="status s0" title="The client left before a response">
        gone
      </span>
    );
  }
  return <span className={`status s${Math.floor(status / 100)}`}>{status}</span>;
}

/** Of a line of a log. */
export function Level({ level }: { level: string }) {
  const look: Record<string, string> = { error: "bad", critical: "bad", warn: "warn" };
  return <span className={`badge ${look[level] ?? ""}`}>{level}</span>;
}

/** An on-off switch, with its label before it. */
export function Toggle(props: {
  label: string;
  checked: boolean;
  onChange: (checked: boolean) => void;
  disabled?: boolean;
  hideLabel?: boolean;
}) {
  return (
    <button
      type="button"
      role="switch"
      className="toggle"
      aria-checked={props.checked}
      aria-label={props.hideLabel ? props.label : undefined}
      disabled={props.disabled}
      onClick={() => props.onChange(!props.checked)}
    >
      {!props.hideLabel && <span>{props.label}</span>}
      <i aria-hidden="true" />
    </button>
  );
}

/** A panel over the page: a dialog of the browser's, which keeps the focus and closes by Escape. */
export function Sheet(props: {
  title: string;
  onClose: () => void;
  children: ReactNode;
  footer?: ReactNode;
  wide?: boolean;
}) {
  const dialog = useRef<HTMLDialogElement>(null);
  const title = useId();
  useEffect(() => {
    const element = dialog.current;
    element?.showModal();
    return () => element?.close();
  }, []);
  return (
    <dialog
      ref={dialog}
      className={props.wide ? "sheet wide" : "sheet"}
      aria-labelledby={title}
      onCancel={(event) => {
        event.preventDefault();
        props.onClose();
      }}
      onMouseDown={(event) => {
        if (event.target === dialog.current) props.onClose();
      }}
    >
      <div className="sheet-body">
        <header>
          <h2 id={title}>{props.title}</h2>
          <button type="button" className="icon" aria-label="Close" onClick={props.onClose}>
            ✕
          </button>
        </header>
        <div className="sheet-content">{props.children}</div>
        {props.footer && <footer>{props.footer}</footer>}
      </div>
    </dialog>
  );
}

type Copying = "no" | "done" | "failed";

/** With a `name` where many stand on a page, of which each has to be told from the others. */
export function Copy(props: { text: string; label?: string; name?: string; plain?: boolean }) {
  const { text, label = "Copy", name, plain } = props;
  const [copying, setCopying] = useState<Copying>("no");
  useEffect(() => {
    if (copying !== "done") return;
    const timer = setTimeout(() => setCopying("no"), 1500);
    return () => clearTimeout(timer);
  }, [copying]);
  const says = { no: label, done: "Copied", failed: "Select it, and copy by hand" };
  return (
    <button
      type="button"
      className={plain ? undefined : "small"}
      aria-label={copying === "no" ? name : undefined}
      onClick={(event) => void copy(text, event.currentTarget).then((done) => setCopying(done ? "done" : "failed"))}
    >
      <span aria-live="polite">{says[copying]}</span>
    </button>
  );
}

/** Browsers give the clipboard to pages by HTTPS or of the machine itself; to others, what is selected. */
async function copy(text: string, button: HTMLElement): Promise<boolean> {
  if (isSecureContext) {
    const done = await navigator.clipboard.writeText(text).then(
      () => true,
      () => false,
    );
    if (done) return true;
  }
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "visually-hidden";
  // Beside the button, for outside of an open dialog nothing can be selected.
  button.after(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  button.focus();
  return done;
}

/** Tabs, moved between by arrow keys. */
export function Tabs<T extends string>(props: {
  label: string;
  tabs: { id: T; name: ReactNode }[];
  current: T;
  onChange: (tab: T) => void;
  children: ReactNode;
}) {
  const id = useId();
  const move = (by: number) => {
    const at = props.tabs.findIndex((tab) => tab.id === props.current);
    const next = props.tabs[(at + by + props.tabs.length) % props.tabs.length];
    if (next) {
      props.onChange(next.id);
      document.getElementById(`${id}-${next.id}`)?.focus();
    }
  };
  return (
    <>
      <div className="tabs" role="tablist" aria-label={props.label}>
        {props.tabs.map((tab) => (
          <button
            key={tab.id}
            id={`${id}-${tab.id}`}
            type="button"
            role="tab"
            aria-selected={tab.id === props.current}
            aria-controls={`${id}-panel`}
            tabIndex={tab.id === props.current ? 0 : -1}
            onClick={() => props.onChange(tab.id)}
            onKeyDown={(event) => {
              if (event.key === "ArrowRight") move(1);
              if (event.key === "ArrowLeft") move(-1);
            }}
          >
            {tab.name}
          </button>
        ))}
      </div>
      <div id={`${id}-panel`} className="tab-panel" role="tabpanel" aria-labelledby={`${id}-${props.current}`}>
        {props.children}
      </div>
    </>
  );
}
