import { describe, expect, inject, it } from "vitest";
import { parseRegistryAddress } from "../../src/remote/registry-address.ts";
import { RegistrySource } from "../../src/remote/registry-source.ts";
import { randomBytes, readAll, sha256 } from "../support/bytes.ts";

describe("RegistrySource in workerd", () => {
  it("reads a blob behind a password and a redirect, cut short in the middle", async () => {
    const { url, blobBytes } = inject("registry");
    const blob = randomBytes(blobBytes);
    const source = new RegistrySource(parseRegistryAddress(url));
    const body = await source.readBlob("team/app", { digest: sha256(blob), size: blob.length });
    if (body === undefined) throw new Error("expected a blob");
    expect(sha256(await readAll(body))).toBe(sha256(blob));
  });
});
