/* What viewers say at the doors of servers: ours, and those that it is compared with. */
#include "rtmp.h"

enum door { FMP4, PLAY, MSE, HTTP, RTMP, DOORS };

enum { HELLO_MAX = RTMP_HELLO_BYTES + 1024, TEXT_MAX = 125 /* in a frame with the short header */ };

static enum door door_called(const char *name) {
  static const char *const names[DOORS] = {"fmp4", "play", "mse", "http", "rtmp"};
  int door = 0;
  while (door < DOORS && strcmp(name, names[door]) != 0) door++;
  return (enum door)door;
}

/* The first bytes of a connection. */
static int hello(char *out, size_t size, enum door door, const char *path, int port, const char *key) {
  if (door == RTMP) return rtmp_hello(out);
  if (door == HTTP) return snprintf(out, size, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n", path, port);
  return snprintf(out, size,
                  "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                  "Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n%s\r\n",
                  path, port, key, door == PLAY ? "Sec-WebSocket-Protocol: headrace.play.v1\r\n" : "");
}

/* Whether the headers of an answer by HTTP let the viewer in. */
static int is_welcome(const char *answer, enum door door, const char *accept_value) {
  if (door == HTTP) return strncmp(answer, "HTTP/1.1 200", 12) == 0;
  return strncmp(answer, "HTTP/1.1 101", 12) == 0 && strstr(answer, accept_value) != NULL;
}

/* What a viewer of a WebSocket says then. */
static int text(char *out, size_t size, enum door door, int index) {
  if (door == MSE) return snprintf(out, size, "{\"type\":\"mse\",\"value\":\"avc1.640029,avc1.64002A,avc1.640033\"}");
  return snprintf(out, size, "{\"type\":\"play\",\"session\":\"bench-%d\"}", index);
}
