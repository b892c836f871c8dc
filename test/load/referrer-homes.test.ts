import { expect, it } from "vitest";
import { homesOfReferrers } from "../../src/load/name-roots.ts";

it("puts referrers in no more than 20,000 places", () => {
  const archive = (repositories: number): Parameters<typeof homesOfReferrers>[0] => [
    ...Array.from({ length: repositories }, (_, i) => ({
      digest: "sha256:a" as const,
      subject: undefined,
      repository: `app-${i}`,
    })),
    ...Array.from({ length: 100 }, (_, i) => ({
      digest: `sha256:about-${i}` as const,
      subject: "sha256:a" as const,
      repository: undefined,
    })),
  ];
  expect(homesOfReferrers(archive(200)).size).toBe(100);
  expect(() => homesOfReferrers(archive(201))).toThrow(
    "its referrers belong into too many places, at most 20000 are allowed",
  );
});

it("comes to an end where referrers are about one another", () => {
  const homes = homesOfReferrers([
    { digest: "sha256:a", subject: undefined, repository: "app" },
    { digest: "sha256:b", subject: "sha256:a", repository: undefined },
    { digest: "sha256:b", subject: "sha256:b", repository: undefined },
  ]);
  expect([...homes]).toEqual([["sha256:b", new Set(["app"])]]);
});
