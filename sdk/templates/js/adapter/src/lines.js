// Lines of JSON to objects and back. The engine inside the component knows no TextEncoder and no
// TextDecoder, so UTF-8 is done here.

const PIECE = 8192;

// The object in a line; null when the line holds anything else.
export function fromLine(bytes) {
  try {
    const value = JSON.parse(fromUtf8(bytes));
    return typeof value === "object" && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}

export function toLine(object) {
  // JSON.stringify escapes half surrogate pairs, so every text here has UTF-8.
  const encoded = encodeURIComponent(JSON.stringify(object)).match(/%..|./g);
  const byte = (part) => (part.length === 1 ? part.charCodeAt(0) : parseInt(part.slice(1), 16));
  return Uint8Array.from([...encoded.map(byte), 0x0a]);
}

function fromUtf8(bytes) {
  let text = "";
  for (let start = 0; start < bytes.length; start += PIECE) {
    text += String.fromCharCode.apply(null, bytes.subarray(start, start + PIECE));
  }
  // So far every character is one byte.
  return text.replace(/[\x80-\xff]+/g, (run) => {
    try {
      return decodeURIComponent(run.replace(/[^]/g, (byte) => `%${byte.charCodeAt(0).toString(16)}`));
    } catch {
      return "\ufffd";
    }
  });
}
