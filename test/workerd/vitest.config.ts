/** The suites beside this file run inside workerd. `workerd.test.ts` starts them and tells them of an S3 server. */
import process from "node:process";
import { cloudflareTest } from "@cloudflare/vitest-plugin";
import { defineConfig } from "vitest/config";
import type { S3Server } from "../servers/s3-servers.ts";

const found = process.env["STOWAGE_WORKERD_S3"];
/** Undefined where there is none. */
const s3Server: S3Server | undefined = found === undefined ? undefined : JSON.parse(found);

/** A `RoughRegistry`, and the length of its blob. */
export interface RegistryUnderTest {
  readonly url: string;
  readonly blobBytes: number;
}

const registry: RegistryUnderTest = JSON.parse(process.env["STOWAGE_WORKERD_REGISTRY"] ?? "{}");

export default defineConfig({
  plugins: [
    cloudflareTest({
      miniflare: {
        compatibilityDate: "2026-10-01",
        compatibilityFlags: ["nodejs_compat"],
        r2Buckets: ["IMAGES"],
      },
    }),
  ],
  // As in wrangler.toml: the SDK's own choice for bundles parses XML by DOMParser, which Workers do not have.
  resolve: {
    alias: {
      "@aws-sdk/xml-builder": new URL("../../node_modules/@aws-sdk/xml-builder/dist-cjs/index.js", import.meta.url)
        .pathname,
    },
  },
  test: {
    root: new URL("../..", import.meta.url).pathname,
    include: ["test/workerd/*.suite.ts"],
    exclude: s3Server === undefined ? ["test/workerd/s3-store.suite.ts"] : [],
    provide: { s3Server, registry },
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
});

declare module "vitest" {
  export interface ProvidedContext {
    readonly s3Server: S3Server | undefined;
    readonly registry: RegistryUnderTest;
  }
}
