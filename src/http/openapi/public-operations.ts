/** The routes that anyone may ask, without a look at a token. `app.ts` serves them beside all others. */
import type { Operation } from "./operation.ts";

const text = { "text/plain": { type: "string" } } as const;

export const publicOperations: Readonly<Record<string, Operation>> = {
  "GET /healthz": {
    id: "checkHealth",
    summary: "The service lives.",
    answers: { 200: { description: "It does.", content: text } },
  },
  "GET /readyz": {
    id: "checkReadiness",
    summary: "The store answers. One look at the store counts for 5 seconds.",
    answers: { 200: { description: "It does.", content: text } },
    errors: ["STORE_UNAVAILABLE"],
  },
  "GET /openapi.json": {
    id: "describeRoutes",
    summary: "This description.",
    answers: { 200: { description: "OpenAPI 3.1.", content: { "application/json": { type: "object" } } } },
  },
};
