/** The settings: environment variables and, on Workers, the bindings that come beside them. */
export type Settings = Readonly<Record<string, unknown>>;

export type Environment = Readonly<Record<string, string | undefined>>;

/** The variables among the settings. A Worker's may be JSON; everywhere else that is written as a string. */
export function variablesOf(settings: Settings): Environment {
  return Object.fromEntries(
    Object.entries(settings).flatMap(([name, value]) => {
      const isBinding = typeof value === "object" && !isPlain(value);
      if (value === undefined || isBinding) return [];
      return [[name, typeof value === "string" ? value : JSON.stringify(value)]];
    }),
  );
}

/** Was it JSON? A binding is an object of a class. */
function isPlain(value: object | null): boolean {
  return value === null || Array.isArray(value) || Object.getPrototypeOf(value) === Object.prototype;
}
