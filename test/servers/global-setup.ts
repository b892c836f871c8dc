/** Vitest's global setup: gives the test files the broker of the S3 servers, and ends the servers after the run. */
import type { TestProject } from "vitest/node";
import { ServerBroker } from "./server-broker.ts";

declare module "vitest" {
  export interface ProvidedContext {
    readonly serverBroker: string;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const broker = new ServerBroker();
  project.provide("serverBroker", await broker.listen());
  return () => broker.close();
}
