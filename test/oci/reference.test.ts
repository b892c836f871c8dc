import { describe, expect, it } from "vitest";
import { formatName, parseName, parseReference, parseRepositoryName, tagOfReference } from "../../src/oci/reference.ts";

const digest = `sha256:${"0".repeat(64)}`;

describe("parseReference", () => {
  it.each([
    ["app", "app", "latest"],
    ["app:1.4", "app", "1.4"],
    ["team/app:1.4", "team/app", "1.4"],
    ["docker.io/library/app:1.4", "app", "1.4"],
    ["docker.io/team/app", "team/app", "latest"],
    ["index.docker.io/library/app", "app", "latest"],
    ["localhost/app:1", "app", "1"],
    ["localhost:5000/team/app:1", "team/app", "1"],
    ["127.0.0.1:8080/app", "app", "latest"],
    ["registry.example:443/a/b/c:x", "a/b/c", "x"],
    ["ghcr.io/acme/app:1", "ghcr.io/acme/app", "1"],
    ["library/app:1", "app", "1"],
    ["localhost/library/app:1", "app", "1"],
    ["library/team/app", "library/team/app", "latest"],
    ["my/library/app", "my/library/app", "latest"],
    [`app@${digest}`, "app", undefined],
    [`app:1@${digest}`, "app", "1"],
    ["GHCR.IO/acme/app:1", "ghcr.io/acme/app", "1"],
    ["Docker.IO/library/app:1", "app", "1"],
    ["LocalHost/app:1", "app", "1"],
    ["Registry.Example:5000/app:1", "app", "1"],
    ["[::1]:5000/app:1", "app", "1"],
    ["[fe80::1]/team/app:1", "team/app", "1"],
    ["docker.io/localhost:5000/app:1", "app", "1"], // read once more it means the same
    ["app:v1.0+build", "app", undefined],
    [digest, "images", undefined], // as Kubernetes names images for containerd, by their ids
  ])("reads %s", (text, repository, tag) => {
    expect(parseReference(text)).toEqual({ repository, tag });
  });

  it.each([
    "",
    "App:1",
    "a//b",
    "-a",
    "a/",
    "/a",
    "app:",
    "app:-x",
    "app:a b",
    "app@sha256:12",
    "a..b:1",
    "../x:1",
    "a:b:c",
    "Team/app:1",
    "ghcr.io/Acme/app:1",
    ":5000/app",
    "my host:5000/app",
    "host:port/app",
  ])("refuses %j", (text) => {
    expect(() => parseReference(text)).toThrow(expect.objectContaining({ code: "NAME_INVALID" }) as Error);
  });
});

describe("parseName", () => {
  it("reads a repository with and without a tag", () => {
    expect(parseName("team/app:1.4")).toEqual({ repository: "team/app", tag: "1.4" });
    expect(parseName("library/app:1")).toEqual({ repository: "app", tag: "1" });
    expect(parseName("team/app")).toEqual({ repository: "team/app", tag: undefined });
  });

  it.each<[string, string, string | undefined, string | undefined]>([
    ["docker.io/library/app", "app", undefined, undefined],
    ["docker.io/library/app:1", "app", "1", undefined],
    ["localhost:5000/app", "app", undefined, undefined],
    ["127.0.0.1:8080/app:1", "app", "1", undefined],
    ["LOCALHOST:5000/team/app:1", "team/app", "1", undefined],
    ["GHCR.io/acme/app", "ghcr.io/acme/app", undefined, undefined],
    [`app@${digest}`, "app", undefined, digest],
    [`localhost:5000/app:1@${digest}`, "app", "1", digest],
    [digest, "images", undefined, digest],
  ])("reads %s as the same as in an archive", (text, repository, tag, wanted) => {
    const name = parseName(text);
    expect(name).toEqual({ repository, tag, digest: wanted });
    expect(parseName(formatName(name))).toEqual(name);
    const inArchive = parseReference(text);
    expect(inArchive.repository).toBe(repository);
    expect(inArchive.tag).toBe(tag ?? (wanted === undefined ? "latest" : undefined));
    if (tag === undefined && wanted === undefined) expect(parseRepositoryName(text)).toBe(repository);
  });

  it.each([
    ["https://ghcr.io/acme/app:1", "https://", "ghcr.io/acme/app:1"],
    ["https:/ghcr.io/acme/app:1", "https:/", "ghcr.io/acme/app:1"],
    ["docker://app", "docker://", "app"],
    ["http://", "http://", "team/app:1.4"],
  ])("says what to leave out of %s", (text, scheme, rest) => {
    expect(() => parseName(text)).toThrow(
      `Cannot use "${text}" as a name: found "${scheme}" in front, expected a name without it, such as "${rest}"`,
    );
  });

  it("says what it found and what it expected", () => {
    expect(() => parseName("Team/App:1")).toThrow(
      'Cannot use "Team/App" as a repository name: expected at most 255 lower-case letters and digits, ' +
        'separated by ".", "_", "-" or "/"',
    );
  });

  it.each([
    "a".repeat(256),
    `${"a/".repeat(200)}a`,
    "a:",
    `a:${"b".repeat(129)}`,
    "_layout",
    "a/_layout/b",
    ".stowage",
  ])("refuses %j", (text) => {
    expect(() => parseName(text)).toThrow(expect.objectContaining({ code: "NAME_INVALID" }) as Error);
  });
});

describe("tagOfReference", () => {
  it.each([
    ["My App:1.4", "1.4"],
    ["HOST:5000/App", "latest"],
    [`App@${digest}`, undefined],
    [digest, undefined],
    [`App:1@${digest}`, "1"],
  ])("reads the tag of %s, whatever its name", (text, tag) => {
    expect(tagOfReference(text)).toBe(tag);
  });

  it("refuses a tag that cannot be used", () => {
    for (const text of ["app:", "app:a b", "app@sha256:12"]) {
      expect(() => tagOfReference(text)).toThrow(expect.objectContaining({ code: "NAME_INVALID" }) as Error);
    }
  });
});
