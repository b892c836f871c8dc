/** A store and real registries, as places to read images from. */
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createAdaptorServer } from "@hono/node-server";
import { expect } from "vitest";
import { type AppOptions, createApp } from "../../src/http/app.ts";
import { LayoutSource } from "../../src/layout/layout-source.ts";
import { openStore } from "../../src/open-store.ts";
import { parseRegistryAddress } from "../../src/remote/registry-address.ts";
import { RegistrySource } from "../../src/remote/registry-source.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { makeS3Store } from "../servers/s3-bucket.ts";
import { findS3Server } from "../servers/s3-servers.ts";
import { chunksOf, sha256 } from "../support/bytes.ts";
import { tarOf } from "../support/layout.ts";
import { loadBytes } from "../support/loading.ts";
import { openLayout } from "../support/open-layout.ts";
import { startDistribution, startTokenService } from "../tools/distribution.ts";
import { missingTools } from "../tools/find-tool.ts";
import { startCraneRegistry } from "../tools/workshop.ts";
import { type OpenedSource, contractLayout, describeImageSource } from "./image-source-contract.ts";
import { pushLayout } from "./push-layout.ts";

async function load(store: ObjectStore): Promise<void> {
  await loadBytes(chunksOf(await tarOf(contractLayout), 64 * 1024), store);
}

async function serveApp(store: ObjectStore, options: Partial<AppOptions>): Promise<{ url: string; close: () => void }> {
  const app = createApp({ layout: openLayout(store), access: "anyone", ...options });
  const server = createAdaptorServer({ fetch: app.fetch });
  await once(server.listen(0, "127.0.0.1"), "listening");
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, close: () => server.close() };
}

async function newFolder(): Promise<string> {
  return mkdtemp(join(tmpdir(), "stowage-remote-"));
}

describeImageSource("a store in memory", {
  open: async () => {
    const store = new MemoryStore();
    await load(store);
    return { source: new LayoutSource(openLayout(store)), close: async () => undefined };
  },
});

describeImageSource("a directory", {
  open: async () => {
    const folder = await newFolder();
    const store = await openStore(`file:${folder}`, {});
    await load(store);
    return { source: new LayoutSource(openLayout(store)), close: async () => rm(folder, { recursive: true }) };
  },
});

describeImageSource("a Stowage that wants a token", {
  open: async () => {
    const store = new MemoryStore();
    await load(store);
    const token = {
      name: "ci",
      sha256: sha256(Buffer.from("secret")).slice("sha256:".length),
      actions: ["pull"] as const,
      repositories: ["**"],
    };
    const { url, close } = await serveApp(store, { access: { tokens: [token], anonymousPull: false } });
    const source = new RegistrySource(parseRegistryAddress(url.replace("//", "//anybody:secret@")));
    expect(source.name).toBe(url);
    return { source, close: async () => close() };
  },
});

const bucket = await findS3Server("versitygw");
describeImageSource("a Stowage that redirects to its bucket", {
  missing: typeof bucket === "string" ? [bucket] : [],
  open: async () => {
    if (typeof bucket === "string") throw new Error(bucket);
    const store = await makeS3Store(bucket);
    await load(store);
    const { url, close } = await serveApp(store, { redirectBlobs: true });
    const credentials = { token: "not-for-the-bucket" };
    return { source: new RegistrySource(parseRegistryAddress(url), { credentials }), close: async () => close() };
  },
});

describeImageSource("crane's registry", {
  missing: missingTools(["crane"]),
  open: async () => {
    const { answer, stop } = await startCraneRegistry(await newFolder());
    await pushLayout(`http://${answer}`, contractLayout);
    return { source: new RegistrySource(parseRegistryAddress(`http://${answer}`)), close: stop };
  },
});

describeImageSource("distribution", {
  missing: missingTools(["docker-registry"]),
  open: async () => {
    const storage = await newFolder();
    const { answer, stop } = await startDistribution(await newFolder(), storage);
    await pushLayout(`http://${answer}`, contractLayout);
    const close = async (): Promise<void> => {
      await stop();
      await rm(storage, { recursive: true });
    };
    return { source: new RegistrySource(parseRegistryAddress(`http://${answer}`)), close };
  },
});

describeImageSource("distribution behind a token service", {
  missing: missingTools(["docker-registry", "openssl"]),
  open: async (): Promise<OpenedSource> => {
    const storage = await newFolder();
    const free = await startDistribution(await newFolder(), storage);
    await pushLayout(`http://${free.answer}`, contractLayout);
    await free.stop();
    const user = { user: "ci", password: "pass word" };
    const folder = await newFolder();
    const tokens = await startTokenService(user, folder);
    const { answer, stop } = await startDistribution(folder, storage, tokens.settings);
    const close = async (): Promise<void> => {
      await stop();
      await tokens.stop();
      await rm(storage, { recursive: true });
      const scopes = ["registry:catalog:*", "nowhere", "other", "app"].map((name) =>
        name.includes(":") ? name : `repository:team/${name}:pull`,
      );
      expect(new Set(tokens.asked)).toEqual(new Set(scopes));
    };
    const stranger = new RegistrySource(parseRegistryAddress(`http://${answer}`));
    await expect(stranger.listEntries("team/app")).rejects.toMatchObject({ code: "UNAUTHORIZED" });
    const source = new RegistrySource(parseRegistryAddress(`docker://${answer}/team/app:1.4`), {
      findCredentials: async () => user,
    });
    return { source, close };
  },
});
