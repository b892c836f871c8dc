import { defineConfig } from "vitest/config";
import { SkippedReporter } from "./support/skipped-reporter.ts";

export default defineConfig({
  test: {
    root: new URL("..", import.meta.url).pathname,
    include: ["test/**/*.test.ts"],
    reporters: ["default", new SkippedReporter({ leftOut: 0 })],
    globalSetup: ["test/servers/global-setup.ts"],
    env: { AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: "true" }, // Node 20 is meant to be tested
    testTimeout: 30_000,
    hookTimeout: 120_000,
  },
});
