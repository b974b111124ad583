/**
 * Members of JSON objects that came from somebody else, each taken with the type it must have. Pure.
 */

/** Bytes or text that do not follow docs/protocol.md: the edge's fault, and the end of that connection only. */
export class WireError extends Error {
  /**
   * @param {string} code a short word for close reasons, for example `truncated`
   * @param {string} detail a sentence for people
   */
  constructor(code, detail) {
    super(`${code}: ${detail}`);
    this.name = "WireError";
    this.code = code;
  }
}

/**
 * Members of a JSON object, each taken with the type it must have.
 */
export class Members {
  /**
   * @param {unknown} value
   * @param {string} name what it is called in errors
   */
  constructor(value, name) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw new WireError("bad_message", `${name} is no object`);
    }
    this.name = name;
    this.values = /** @type {Record<string, unknown>} */ (value);
  }

  /**
   * @param {string} key
   * @param {string} [otherwise] taken when the member is absent
   */
  text(key, otherwise) {
    const value = this.values[key] ?? otherwise;
    if (typeof value !== "string") {
      throw this.wrong(key, "text");
    }
    return value;
  }

  /**
   * @param {string} key
   * @param {number} [otherwise] taken when the member is absent
   */
  number(key, otherwise) {
    const value = this.values[key] ?? otherwise;
    if (typeof value !== "number" || !Number.isFinite(value)) {
      throw this.wrong(key, "a number");
    }
    return value;
  }

  /**
   * A whole number from 0 on that is exact.
   * @param {string} key
   */
  count(key) {
    return toCount(this.values[key], () => this.wrong(key, "a whole number"));
  }

  /** @param {string} key @param {number} most @returns {unknown[]} */
  list(key, most) {
    const value = this.values[key];
    if (!Array.isArray(value)) {
      throw this.wrong(key, "a list");
    }
    return value.slice(0, most);
  }

  /** @param {string} key @param {string} expected */
  wrong(key, expected) {
    return new WireError("bad_message", `${this.name}.${key} is not ${expected}`);
  }
}

/** @param {unknown} value @param {() => WireError} wrong */
export function toCount(value, wrong) {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) {
    throw wrong();
  }
  return value;
}
