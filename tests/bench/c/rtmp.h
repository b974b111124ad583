/* What a player says to an RTMP server to get one stream, without looking at the answers. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum {
  RTMP_HELLO_BYTES = 1 + 1536,         /* C0 and C1: version, time, zero, random bytes */
  RTMP_ANSWER_BYTES = 1 + 1536 + 1536, /* S0, S1, S2 */
  RTMP_REQUEST_BYTES = 4096,
  RTMP_COMMAND_MAX = 128 /* one chunk, as long as nobody sets another size */
};

static int rtmp_hello(char *out) {
  memset(out, 0, RTMP_HELLO_BYTES);
  out[0] = 3;
  return RTMP_HELLO_BYTES;
}

/* AMF0: a text, its marker left out where it is the name of a member. */
static char *amf_text(char *at, const char *text, int is_name) {
  size_t size = strlen(text);
  if (!is_name) *at++ = 2;
  *at++ = (char)(size >> 8);
  *at++ = (char)size;
  memcpy(at, text, size);
  return at + size;
}

/* AMF0: a number from 0 to 2, as a double. */
static char *amf_number(char *at, int value) {
  static const unsigned char high[3][2] = {{0, 0}, {0x3f, 0xf0}, {0x40, 0}};
  *at++ = 0;
  memset(at, 0, 8);
  at[0] = (char)high[value][0];
  at[1] = (char)high[value][1];
  return at + 8;
}

/* Put the header of a command in front of it: chunk stream 3, type 20 (AMF0), of message stream `stream`. */
static char *rtmp_command(char *out, const char *body, size_t size, char stream) {
  const char header[12] = {3, 0, 0, 0, 0, (char)(size >> 8), (char)size, 20, stream, 0, 0, 0};
  memcpy(out, header, 12);
  memcpy(out + 12, body, size);
  return out + 12 + size;
}

/* C2, connect, createStream and play, of `application/stream`; return the bytes written, or -1 if that is too long. */
static int rtmp_request(char *out, int port, const char *path) {
  char body[512], application[64], url[128], *at = out + 1536, *end;
  const char *slash = strchr(path, '/');
  if (slash == NULL || strlen(path) > sizeof application) return -1;
  memset(out, 0, 1536);
  snprintf(application, sizeof application, "%.*s", (int)(slash - path), path);
  snprintf(url, sizeof url, "rtmp://127.0.0.1:%d/%s", port, application);

  end = amf_number(amf_text(body, "connect", 0), 1);
  *end++ = 3;
  end = amf_text(amf_text(end, "app", 1), application, 0);
  end = amf_text(amf_text(end, "tcUrl", 1), url, 0);
  memcpy(end, "\0\0\x09", 3);
  end += 3;
  if (end - body > RTMP_COMMAND_MAX) return -1;
  at = rtmp_command(at, body, (size_t)(end - body), 0);

  end = amf_number(amf_text(body, "createStream", 0), 2);
  *end++ = 5;
  at = rtmp_command(at, body, (size_t)(end - body), 0);

  end = amf_number(amf_text(body, "play", 0), 0);
  *end++ = 5;
  end = amf_text(end, slash + 1, 0);
  at = rtmp_command(at, body, (size_t)(end - body), 1);
  return (int)(at - out);
}
