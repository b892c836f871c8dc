import { describe, expect, it } from "vitest";
import { isRegistryAddress, parseRegistryAddress } from "../../src/remote/registry-address.ts";

const digest = `sha256:${"0".repeat(64)}`;

describe("parseRegistryAddress", () => {
  it.each([
    ["docker://ghcr.io/acme/app:1", "https://ghcr.io", { repository: "acme/app", tag: "1" }],
    ["docker://GHCR.io/acme/app", "https://ghcr.io", { repository: "acme/app" }],
    [`docker://ghcr.io/acme/app:1@${digest}`, "https://ghcr.io", { repository: "acme/app", tag: "1", digest }],
    ["docker://alpine", "https://registry-1.docker.io", { repository: "library/alpine" }],
    ["docker://alpine:3", "https://registry-1.docker.io", { repository: "library/alpine", tag: "3" }],
    ["docker://docker.io/alpine", "https://registry-1.docker.io", { repository: "library/alpine" }],
    ["docker://index.docker.io/acme/app", "https://registry-1.docker.io", { repository: "acme/app" }],
    ["docker://acme/app:1", "https://registry-1.docker.io", { repository: "acme/app", tag: "1" }],
    ["docker://registry:5000/app", "https://registry:5000", { repository: "app" }],
    ["docker://localhost/app:1", "http://localhost", { repository: "app", tag: "1" }],
    ["docker://127.0.0.1:5000/team/app", "http://127.0.0.1:5000", { repository: "team/app" }],
    ["docker://[::1]:5000/app", "http://[::1]:5000", { repository: "app" }],
    ["docker://127.0.0.1.example/app", "https://127.0.0.1.example", { repository: "app" }],
  ])("reads %s as an image", (text, url, image) => {
    expect(isRegistryAddress(text)).toBe(true);
    expect(parseRegistryAddress(text)).toEqual({ url, image });
  });

  it.each([
    ["https://stowage.example", "https://stowage.example", undefined],
    ["https://stowage.example/", "https://stowage.example", undefined],
    ["https://stowage.example:8443/below/v2/", "https://stowage.example:8443/below", undefined],
    ["http://10.0.0.1:5000", "http://10.0.0.1:5000", undefined],
    ["https://me:pass%2Fword@reg.example", "https://reg.example", { user: "me", password: "pass/word" }],
    ["https://:token@reg.example", "https://reg.example", { token: "token" }],
  ])("reads %s as a registry", (text, url, credentials) => {
    expect(isRegistryAddress(text)).toBe(true);
    expect(parseRegistryAddress(text)).toEqual({ url, credentials });
  });

  it.each([
    ["docker://ghcr.io", "NAME_INVALID", /found a registry alone/],
    ["docker://localhost:5000", "NAME_INVALID", /found a registry alone/],
    ["docker://ghcr.io/Acme/app", "NAME_INVALID", /"Acme\/app" as a repository name/],
    ["docker://ghcr.io/acme/app:", "NAME_INVALID", /"" as a tag/],
    ["docker://ghcr.io/acme/../app", "NAME_INVALID", /as a repository name/],
    ["docker://me:secret@ghcr.io/acme/app", "NAME_INVALID", /as a digest/],
    ["https://", "INPUT_INVALID", /expected one such as https:/],
    ["https://reg.example/?secret", "INPUT_INVALID", /found a query/],
    ["https://me:1/secret@reg.example", "INPUT_INVALID", /"…@reg\.example" as a registry: .*%2F/],
    ["https://secret@reg.example", "INPUT_INVALID", /has a user without a password/],
    ["https://me%3A:secret@reg.example", "INPUT_INVALID", /has a colon/],
    ["https://:a%20secret@reg.example", "INPUT_INVALID", /has characters that no token has/],
    ["s3://bucket", "INPUT_INVALID", /as a registry/],
  ])("refuses %s, and shows no secret", (text, code, message) => {
    const parse = (): unknown => parseRegistryAddress(text);
    expect(parse).toThrow(expect.objectContaining({ code }) as Error);
    expect(parse).toThrow(message);
    expect(parse).not.toThrow(/secret/);
  });

  it.each(["s3://bucket", "file:data", "memory:", "team/app", "httpsx://y"])("leaves %s to others", (text) => {
    expect(isRegistryAddress(text)).toBe(false);
  });
});
