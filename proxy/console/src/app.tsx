import { useQuery } from "@tanstack/react-query";
import { type ReactNode, useEffect } from "react";
import { Link, Route, Switch, useLocation } from "wouter";
import { get, type Overview as Fares } from "./api";
import { Configuration } from "./pages/configuration";
import { Exporter } from "./pages/exporter";
import { Exporters } from "./pages/exporters";
import { Otlp } from "./pages/otlp";
import { Overview } from "./pages/overview";
import { Plugin, Plugins } from "./pages/plugins";
import { Routes } from "./pages/routes";
import { Trace } from "./pages/trace";
import { Traces } from "./pages/traces";
import { Upstreams } from "./pages/upstreams";
import { Head } from "./parts/basics";

export function useOverview() {
  return useQuery({
    queryKey: ["overview"],
    queryFn: () => get<Fares>("overview"),
    refetchInterval: 2000,
  });
}

export function App() {
  return (
    <div className="shell">
      <a className="skip" href="#main" onClick={focusMain}>
        Skip to content
      </a>
      <Side />
      <main id="main" tabIndex={-1}>
        <Switch>
          <Route path="/" component={Overview} />
          <Route path="/traces" component={Traces} />
          <Route path="/traces/:id">{({ id }) => <Trace key={id} id={id} />}</Route>
          <Route path="/routes" component={Routes} />
          <Route path="/upstreams" component={Upstreams} />
          <Route path="/plugins" component={Plugins} />
          <Route path="/plugins/:name">{({ name }) => <Plugin name={decodeURIComponent(name)} />}</Route>
          <Route path="/exporters" component={Exporters} />
          <Route path="/exporters/:name">
            {({ name }) => <Exporter key={name} name={decodeURIComponent(name)} />}
          </Route>
          <Route path="/otlp" component={Otlp} />
          <Route path="/configuration" component={Configuration} />
          <Route component={Nowhere} />
        </Switch>
      </main>
    </div>
  );
}

function Nowhere() {
  useTitle("No such page");
  return (
    <>
      <Head title="There is no such page" />
      <p>
        <Link href="/">Overview</Link>
      </p>
    </>
  );
}

// The page's <base> would make the link lead elsewhere.
function focusMain(event: { preventDefault(): void }) {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

function Side() {
  const { data, isError } = useOverview();
  const failing = data?.exporters.filter((exporter) => exporter.state === "degraded").length ?? 0;
  return (
    <nav className="side" aria-label="Pages">
      <Link href="/" className="brand">
        <svg viewBox="0 0 16 16" aria-hidden="true">
          <path d="M1 4h14M1 8h9M5 12h10" />
        </svg>
        Weir
      </Link>
      <Item to="/">Overview</Item>
      <Item to="/traces">Traces</Item>
      <p className="group">Traffic</p>
      <Item to="/routes">Routes</Item>
      <Item to="/upstreams">Upstreams</Item>
      <Item to="/plugins">Plugins</Item>
      <p className="group">Observability</p>
      <Item to="/exporters">
        Kafka
        {failing > 0 && <span className="badge bad">{failing} failing</span>}
      </Item>
      <Item to="/otlp">OTLP</Item>
      <p className="group">System</p>
      <Item to="/configuration">Configuration</Item>
      <footer>
        {isError ? (
          <span className="state bad">Weir does not answer</span>
        ) : data ? (
          <>
            <span className={data.draining ? "state warn" : "state good"}>
              {data.draining ? "Draining" : "Serving"}
            </span>
            <span className="quiet">
              {data.version} · generation {data.generation}
            </span>
          </>
        ) : null}
      </footer>
    </nav>
  );
}

function Item({ to, children }: { to: string; children: ReactNode }) {
  const [location] = useLocation();
  const current = to === "/" ? location === "/" : location === to || location.startsWith(`${to}/`);
  return (
    <Link href={to} className="item" aria-current={current ? "page" : undefined}>
      {children}
    </Link>
  );
}

/** Names the page in the browser's title. */
export function useTitle(title: string) {
  useEffect(() => {
    document.title = `${title} · Weir`;
  }, [title]);
}
