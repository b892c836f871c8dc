import { defineConfig, mergeConfig } from "vitest/config";
import all from "./vitest.config.ts";

export default mergeConfig(
  all,
  defineConfig({
    test: {
      exclude: [
        "test/clients/**",
        "test/infra/**",
        "test/conformance/**",
        "test/workerd/**",
        "test/runtimes/runtimes.test.ts",
        "test/runtimes/memory.test.ts",
        "test/bench.test.ts",
      ],
    },
  }),
);
