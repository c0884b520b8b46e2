import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// Everything is asked for relative to the page's <base>, which Weir sets.
export default defineConfig({
  base: "./",
  plugins: [react()],
  build: { target: "es2022", assetsInlineLimit: 0, modulePreload: { polyfill: false } },
  server: { proxy: { "/api": "http://127.0.0.1:9901" } },
});
