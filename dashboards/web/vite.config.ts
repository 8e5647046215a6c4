import { env } from "node:process";
import { defineConfig } from "vitest/config";

export default defineConfig({
  build: {
    // The first browsers that know CSS light-dark(), which the colour schemes need.
    target: ["chrome123", "firefox120", "safari17.5"],
    // The content security policy has no data: addresses.
    assetsInlineLimit: 0,
    // One script: nothing that could fail to load later.
    chunkSizeWarningLimit: 800,
    license: { fileName: "licenses.md" },
  },
  plugins: [
    {
      // Without it the ground flashes in the system's scheme before the script sets the chosen one; Vite drops the
      // attribute from the page's own tag.
      name: "block-rendering",
      transformIndexHtml: { order: "post", handler: (html) => html.replace("<script ", '<script blocking="render" ') },
    },
  ],
  // The reader of the tests is not in New York.
  test: { env: { TZ: "Europe/Berlin" } },
  server: { proxy: { "/api": env.QUOTEFLOW_DASHBOARD_URL ?? "http://127.0.0.1:14504" } },
});
