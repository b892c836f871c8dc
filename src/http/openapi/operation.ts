/** What a route does not say about itself: the text, bodies, answers and errors of one method. */
import type { ErrorCode } from "../../errors.ts";
import type { JsonObject } from "../../oci/json.ts";

/** The codes that a route can answer with, beside those that every route has. */
export type OperationError = ErrorCode | { readonly code: ErrorCode; readonly status: number };

export interface Operation {
  /** The `operationId`: generators of clients make a function of it. */
  readonly id: string;
  /** One sentence. */
  readonly summary: string;
  readonly description?: string;
  /** The query parameters of the route, each by its name. */
  readonly query?: Readonly<Record<string, QueryParameter>>;
  /** Names in `headerParameters` of `parameters.ts`. */
  readonly headers?: readonly string[];
  readonly body?: RequestBody;
  /** By status. Errors are not among them. */
  readonly answers: Readonly<Record<number, Answer>>;
  readonly errors?: readonly OperationError[];
}

export interface QueryParameter {
  readonly description: string;
  readonly required?: boolean;
  readonly schema: JsonObject;
  /** False for a list in one parameter, with commas. Otherwise each item of a list is a parameter. */
  readonly explode?: boolean;
}

export interface RequestBody {
  readonly description: string;
  readonly required?: boolean;
  /** Schemas by media type. */
  readonly content: Readonly<Record<string, JsonObject>>;
}

export interface Answer {
  readonly description: string;
  /** Names in `answerHeaders` of `parameters.ts`. A name with `?` at its end is not in every answer. */
  readonly headers?: readonly string[];
  /** Schemas by media type. Undefined without a body. */
  readonly content?: Readonly<Record<string, JsonObject>> | undefined;
}

/** The schema of `components` with this name. */
export function schema(name: string): JsonObject {
  return { $ref: `#/components/schemas/${name}` };
}

export function json(name: string): Readonly<Record<string, JsonObject>> {
  return { "application/json": schema(name) };
}
