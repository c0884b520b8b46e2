import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { Router } from "wouter";
import { App } from "./app";
import { Problem } from "./api";
import "./styles/base.css";
import "./styles/parts.css";
import "./styles/controls.css";
import "./styles/charts.css";
import "./styles/waterfall.css";

const client = new QueryClient({
  defaultOptions: {
    queries: {
      // What the server refuses, it refuses again.
      retry: (count, error) => !(error instanceof Problem) && count < 2,
      refetchOnWindowFocus: false,
    },
  },
});

// Where the console is mounted: a proxy in front may have put it anywhere.
const base = new URL(document.baseURI).pathname.replace(/\/$/, "");

const root = document.getElementById("root");
if (root) {
  createRoot(root).render(
    <StrictMode>
      <QueryClientProvider client={client}>
        <Router base={base}>
          <App />
        </Router>
      </QueryClientProvider>
    </StrictMode>,
  );
}
