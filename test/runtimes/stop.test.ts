import { once } from "node:events";
import { connect } from "node:net";
import { describe, expect, it } from "vitest";
import { randomBytes, sha256 } from "../support/bytes.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { newFolder, serveStowage } from "../support/run-stowage.ts";

describe("stowage serve, told to stop", () => {
  it("closes connections that would never end by themselves, once its time is over", { timeout: 30_000 }, async () => {
    const layer = randomBytes(30_000_000);
    const service = await serveStowage(["--store", `file:${await newFolder()}`], { STOWAGE_STOP_SECONDS: "1" });
    const { hostname, port } = new URL(service.url);
    await fetch(`${service.url}/v1/load`, {
      method: "PUT",
      body: await tarOf(makeLayout({ layers: [layer], name: "big:1" })),
    });

    const reader = connect(Number(port), hostname); // asks for a layer and does not read it
    reader.on("error", () => undefined).pause();
    reader.write(`GET /v2/big/blobs/${sha256(layer)} HTTP/1.1\r\nHost: ${hostname}\r\n\r\n`);
    const speaker = connect(Number(port), hostname); // stops in the middle of a header
    speaker.on("error", () => undefined);
    speaker.write("GET /healthz HTTP/1.1\r\nHo");
    await Promise.all([once(reader, "connect"), once(speaker, "connect")]);

    service.kill("SIGTERM");
    expect(await service.outcome).toMatchObject({ code: 0, stderr: "" });
    reader.destroy();
    speaker.destroy();
  });

  it("waits for no connection on which no request runs", { timeout: 30_000 }, async () => {
    const tarball = await tarOf(makeLayout({ layers: [randomBytes(1000)], name: "small:1" }));
    const service = await serveStowage(["--store", `file:${await newFolder()}`], { STOWAGE_STOP_SECONDS: "1000" });
    const { hostname, port } = new URL(service.url);
    const unused = connect(Number(port), hostname);
    const former = connect(Number(port), hostname);
    former.write(`GET /healthz HTTP/1.1\r\nHost: ${hostname}\r\n\r\n`);
    const loader = connect(Number(port), hostname);
    const request = `PUT /v1/load HTTP/1.1\r\nHost: ${hostname}\r\nContent-Length: ${tarball.length}\r\n\r\n`;
    loader.write(Buffer.concat([Buffer.from(request), tarball.subarray(0, 2000)]));
    for (const socket of [unused, former, loader]) socket.on("error", () => undefined);
    await Promise.all([once(unused, "connect"), once(former, "data"), once(loader, "connect")]);

    service.kill("SIGTERM");
    await once(unused, "close");
    loader.write(tarball.subarray(2000));
    const [answer] = (await once(loader, "data")) as [Buffer];
    expect(answer.toString()).toMatch(/^HTTP\/1\.1 201 /);
    expect(await service.outcome).toMatchObject({ code: 0, stderr: "" });
  });
});
