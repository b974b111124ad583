/* Viewers: opens many WebSockets to one server, counts what comes and how old it is, and costs less than the server.

   One thread, epoll. It looks at the first bytes of each message, where the moment stands at which it was made, and
   lets the kernel throw the rest away (MSG_TRUNC), so that nothing is copied.

   viewers PORT PATHS COUNT DOOR KEY ACCEPT SLOW NEVER SLOW_BYTES
     PORT        of the server on 127.0.0.1
     PATHS       comma-separated; viewer i asks for path i mod their number; of RTMP it is application/stream
     COUNT       viewers that read at once whatever comes
     DOOR        fmp4 or play: which handshake, and where in a message its stamp is; or another server's: mse (fMP4 by
                 WebSocket, asked for by a text), http (a body without end), rtmp; of the last two only bytes count
     KEY, ACCEPT what the handshake says and what the answer must
     SLOW        further viewers that read SLOW_BYTES a second, with a small buffer
     NEVER       further viewers that never read, with a small buffer
   Words on standard input: "go" forgets what was counted, "tell" prints one line of JSON; its end ends the program.
   "open N" is printed once everybody is in and all readers that were not lost have had a message. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#ifdef WITH_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>
#endif
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "doors.h"

enum { FDS_MAX = 65536, HEAD_MAX = 10 + 48, BUCKETS = 20000, OPENING_MAX = 128, SLOW_TICKS = 10, HEARD_BYTES = 8192 };
enum kind { READER, SLOW, NEVER };
enum stage { CONNECTING, GREETING, ANSWERING, OPEN };

struct viewer {
  enum kind kind;
  enum stage stage;
  char *answer;
  size_t answered;
  unsigned char head[HEAD_MAX];
  int had;         /* bytes of head */
  uint64_t wanted; /* bytes of the message still to be thrown away */
  int index, has_heard;
#ifdef WITH_TLS
  SSL *tls;
#endif
};

static struct viewer *viewers[FDS_MAX];
static int poll_fd, port, total, begun, opening, opened, heard, readers, lost, slow_fds[FDS_MAX], slow_count;
static enum door door;
static const char *paths[4096], *key, *accept_value;
static int path_count;
static uint64_t messages, bytes, texts, stamped, latency[BUCKETS]; /* tenths of a millisecond */
static long slow_bytes;

static void die(const char *what) {
  perror(what);
  exit(1);
}

static void watch(int fd, uint32_t events, int operation) {
  struct epoll_event event = {.events = events, .data.fd = fd};
  if (epoll_ctl(poll_fd, operation, fd, &event) < 0) die("epoll_ctl");
}

#ifdef WITH_TLS
/* With TLS nothing can be thrown away unread: everything is decrypted into one buffer and looked at there. */
static SSL_CTX *tls_context;

static ssize_t give(int fd, const char *data, size_t size) { return SSL_write(viewers[fd]->tls, data, (int)size); }

static ssize_t get(int fd, char *data, size_t size) {
  ERR_clear_error();
  int got = SSL_read(viewers[fd]->tls, data, (int)size);
  if (got > 0) return got;
  int error = SSL_get_error(viewers[fd]->tls, got);
  errno = EAGAIN;
  return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? -1 : 0;
}
#else
static ssize_t give(int fd, const char *data, size_t size) { return send(fd, data, size, MSG_NOSIGNAL); }
#endif

static void leave(int fd) {
  struct viewer *viewer = viewers[fd];
  lost++;
  if (viewer->stage != OPEN) opening--;
  free(viewer->answer);
#ifdef WITH_TLS
  SSL_free(viewer->tls);
#endif
  free(viewer);
  viewers[fd] = NULL;
  for (int i = 0; i < slow_count; i++)
    if (slow_fds[i] == fd) slow_fds[i--] = slow_fds[--slow_count];
  close(fd);
}

static void begin(void) {
  while (begun < total && opening < OPENING_MAX) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1, small = 16 * 1024;
    if (fd < 0 || fd >= FDS_MAX) die("socket");
    struct viewer *viewer = viewers[fd] = calloc(1, sizeof(struct viewer));
    viewer->index = begun++;
    viewer->kind = viewer->index < readers ? READER : viewer->index < readers + slow_count ? SLOW : NEVER;
    if (viewer->kind != READER) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    if (viewer->kind == SLOW) slow_fds[viewer->index - readers] = fd;
    /* several source addresses: one has only 28,000 ports */
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)(viewer->index % 8))};
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&from, sizeof from) < 0) die("bind");
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS) die("connect");
    opening++;
    watch(fd, EPOLLOUT, EPOLL_CTL_ADD);
  }
}

static void ask(int fd) {
  struct viewer *viewer = viewers[fd];
  char request[HELLO_MAX];
  int size = hello(request, sizeof request, door, paths[viewer->index % path_count], port, key);
  if (give(fd, request, (size_t)size) != size) { leave(fd); return; }
  viewer->stage = ANSWERING;
  viewer->answer = calloc(1, 2048);
  watch(fd, EPOLLIN, EPOLL_CTL_MOD);
}

/* Ask for the stream by a text, where that is done after the handshake; masked by zeros. */
static void say(int fd) {
  char frame[6 + TEXT_MAX + 1];
  int size = text(frame + 6, TEXT_MAX + 1, door, viewers[fd]->index);
  frame[0] = (char)0x81;
  frame[1] = (char)(0x80 | size);
  memset(frame + 2, 0, 4);
  if (give(fd, frame, (size_t)size + 6) != size + 6) leave(fd);
}

static void be_open(int fd) {
  viewers[fd]->stage = OPEN;
  opening--;
  opened++;
  if (viewers[fd]->kind != READER) watch(fd, 0, EPOLL_CTL_MOD);
}

/* The answer is read byte for byte in pieces that end where the headers end: peek first, then take so much. */
static void hear_answer(int fd) {
  struct viewer *viewer = viewers[fd];
#ifdef WITH_TLS
  ssize_t got = SSL_peek(viewer->tls, viewer->answer, 2047);
  if (got <= 0 && SSL_get_error(viewer->tls, (int)got) == SSL_ERROR_WANT_READ) return;
#else
  ssize_t got = recv(fd, viewer->answer, 2047, MSG_PEEK);
#endif
  if (got <= 0) {
    if (got == 0 || errno != EAGAIN) leave(fd);
    return;
  }
  viewer->answer[got] = 0;
  char *end = strstr(viewer->answer, "\r\n\r\n");
  if (end == NULL) return;
  size_t size = (size_t)(end + 4 - viewer->answer);
#ifdef WITH_TLS
  SSL_read(viewer->tls, viewer->answer, (int)size);
#else
  recv(fd, viewer->answer, size, 0);
#endif
  viewer->answer[size] = 0;
  if (!is_welcome(viewer->answer, door, accept_value)) { fprintf(stderr, "%s\n", viewer->answer); leave(fd); return; }
  free(viewer->answer);
  viewer->answer = NULL;
  be_open(fd);
  if (door == PLAY || door == MSE) say(fd);
}

/* Throw the answer to the RTMP handshake away; then ask for everything at once, for the answers are known. */
static void hear_rtmp_answer(int fd) {
  struct viewer *viewer = viewers[fd];
  char request[RTMP_REQUEST_BYTES];
  ssize_t got = recv(fd, request, RTMP_ANSWER_BYTES - viewer->answered, MSG_TRUNC);
  if (got <= 0) {
    if (got == 0 || errno != EAGAIN) leave(fd);
    return;
  }
  viewer->answered += (size_t)got;
  if (viewer->answered < RTMP_ANSWER_BYTES) return;
  int size = rtmp_request(request, port, paths[viewer->index % path_count]);
  if (size < 0 || give(fd, request, (size_t)size) != size) leave(fd);
  else be_open(fd);
}

static void note(struct viewer *viewer, const unsigned char *payload, uint64_t size) {
  uint64_t us = 0;
  struct timespec now;
  messages++;
  bytes += size;
  if (!viewer->has_heard) { viewer->has_heard = 1; heard++; }
  if (size < 48 || door > PLAY) return;
  for (int i = 0; i < 8; i++) us = us << 8 | payload[(door == PLAY ? 40 : 32) + i];
  clock_gettime(CLOCK_REALTIME, &now);
  int64_t age = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000 - (int64_t)us;
  if (age < -1000000 || age > 3600000000LL) return; /* a header has no stamp */
  if (age < 0) age = 0;
  stamped++;
  latency[age / 100 < BUCKETS ? age / 100 : BUCKETS - 1]++;
}

/* Return 1 when a whole head was taken: header of the frame and up to 48 bytes of what it carries. */
static int take_head(struct viewer *viewer) {
  const unsigned char *head = viewer->head;
  if (viewer->had < 2) return 0;
  int small = head[1] & 127, wide = small == 126 ? 2 : small == 127 ? 8 : 0;
  if (viewer->had < 2 + wide) return 0;
  uint64_t size = wide ? 0 : (uint64_t)small;
  for (int i = 0; i < wide; i++) size = size << 8 | head[2 + i];
  int look = 2 + wide + (size < 48 ? (int)size : 48);
  if (viewer->had < look) return 0;
  if ((head[0] & 15) == 2) note(viewer, head + 2 + wide, size);
  else texts++;
  viewer->wanted = size - (uint64_t)(look - 2 - wide);
  int left = viewer->had - look, of_this = viewer->wanted < (uint64_t)left ? (int)viewer->wanted : left;
  viewer->wanted -= (uint64_t)of_this;
  viewer->had = left - of_this;
  memmove(viewer->head, viewer->head + look + of_this, (size_t)viewer->had);
  return 1;
}

#ifdef WITH_TLS
static void hear(int fd, uint64_t most) {
  static char data[1 << 16];
  struct viewer *viewer = viewers[fd];
  ssize_t got;
  uint64_t taken = 0;
  while (taken < most && (got = get(fd, data, sizeof data)) > 0) {
    taken += (uint64_t)got;
    for (ssize_t at = 0; at < got;) {
      if (viewer->wanted) {
        uint64_t skip = viewer->wanted < (uint64_t)(got - at) ? viewer->wanted : (uint64_t)(got - at);
        viewer->wanted -= skip;
        at += (ssize_t)skip;
        continue;
      }
      while (at < got && viewer->had < HEAD_MAX) viewer->head[viewer->had++] = (unsigned char)data[at++];
      while (!viewer->wanted && take_head(viewer)) {}
    }
  }
  if (taken < most && got == 0) leave(fd);
}

static void greet(int fd) {
  struct viewer *viewer = viewers[fd];
  if (viewer->tls == NULL) {
    viewer->tls = SSL_new(tls_context);
    SSL_set_fd(viewer->tls, fd);
    viewer->stage = GREETING;
    watch(fd, EPOLLIN, EPOLL_CTL_MOD);
  }
  int done = SSL_connect(viewer->tls);
  if (done == 1) ask(fd);
  else if (SSL_get_error(viewer->tls, done) != SSL_ERROR_WANT_READ) leave(fd);
}
#else
/* Read up to `most` bytes, or to the end of a message when the viewer is a reader: epoll tells when there is more. */
static void hear(int fd, uint64_t most) {
  static char waste[1];
  struct viewer *viewer = viewers[fd];
  for (uint64_t taken = 0; taken < most;) {
    uint64_t size = viewer->wanted < most - taken ? viewer->wanted : most - taken;
    ssize_t got = viewer->wanted ? recv(fd, waste, size, MSG_TRUNC)
                                 : recv(fd, viewer->head + viewer->had, (size_t)(HEAD_MAX - viewer->had), 0);
    if (got <= 0) {
      if (got == 0 || (errno != EAGAIN && errno != EINTR)) leave(fd);
      return;
    }
    taken += (uint64_t)got;
    if (viewer->wanted) {
      viewer->wanted -= (uint64_t)got;
      if ((uint64_t)got < size || (viewer->kind == READER && !viewer->wanted)) return;
    } else {
      viewer->had += (int)got;
      while (!viewer->wanted && take_head(viewer)) {}
    }
  }
}

static void greet(int fd) { ask(fd); }
#endif

/* Count what comes where nothing tells one message from the next. */
static void hear_stream(int fd) {
  static char waste[1];
  struct viewer *viewer = viewers[fd];
  ssize_t got = recv(fd, waste, 1 << 20, MSG_TRUNC);
  if (got <= 0) {
    if (got == 0 || (errno != EAGAIN && errno != EINTR)) leave(fd);
    return;
  }
  bytes += (uint64_t)got;
  viewer->wanted += (uint64_t)got;
  if (viewer->has_heard || viewer->wanted < HEARD_BYTES) return; /* less may be no more than the stream's header */
  viewer->has_heard = 1;
  heard++;
}

static double quantile(double part) {
  uint64_t seen = 0;
  for (int i = 0; i < BUCKETS; i++)
    if ((seen += latency[i]) >= part * (double)stamped && stamped) return (i + 0.5) / 10;
  return 0;
}

static void tell(void) {
  struct rusage used;
  getrusage(RUSAGE_SELF, &used);
  printf("{\"open\": %d, \"lost\": %d, \"messages\": %llu, \"bytes\": %llu, \"texts\": %llu, \"p50_ms\": %.2f, "
         "\"p99_ms\": %.2f, \"cpu_s\": %.3f, \"latency\": [",
         opened, lost, (unsigned long long)messages, (unsigned long long)bytes, (unsigned long long)texts, quantile(0.5),
         quantile(0.99),
         (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
  const char *between = "";
  for (int i = 0; i < BUCKETS; i++)
    if (latency[i]) {
      printf("%s[%.2f, %llu]", between, (i + 0.5) / 10, (unsigned long long)latency[i]);
      between = ", ";
    }
  puts("]}");
  fflush(stdout);
}

static int listen_to_orders(void) {
  char words[256];
  ssize_t got = read(0, words, sizeof words - 1);
  if (got <= 0) return 0;
  words[got] = 0;
  if (strstr(words, "go")) {
    messages = bytes = texts = stamped = 0;
    memset(latency, 0, sizeof latency);
  }
  if (strstr(words, "tell")) tell();
  return 1;
}

int main(int count, char **words) {
  if (count != 10) return 2;
  port = atoi(words[1]);
  for (char *path = strtok(words[2], ","); path && path_count < 4096; path = strtok(NULL, ",")) paths[path_count++] = path;
  readers = atoi(words[3]);
  if ((door = door_called(words[4])) == DOORS) return 2;
  key = words[5];
  accept_value = words[6];
  slow_count = atoi(words[7]);
  slow_bytes = atol(words[9]);
  total = readers + slow_count + atoi(words[8]);
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  poll_fd = epoll_create1(0);
#ifdef WITH_TLS
  tls_context = SSL_CTX_new(TLS_client_method());
#endif
  int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), told = 0;
  struct itimerspec ticks = {.it_interval = {.tv_nsec = 1000000000 / SLOW_TICKS}, .it_value = {.tv_nsec = 1000000000 / SLOW_TICKS}};
  timerfd_settime(timer, 0, &ticks, NULL);
  watch(0, EPOLLIN, EPOLL_CTL_ADD);
  if (slow_count) watch(timer, EPOLLIN, EPOLL_CTL_ADD);
  struct epoll_event events[512];
  for (;;) {
    begin();
    if (!told && begun == total && opening == 0 && heard + lost >= readers) {
      printf("open %d\n", opened);
      fflush(stdout);
      told = 1;
    }
    int ready = epoll_wait(poll_fd, events, 512, -1);
    if (ready < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < ready; i++) {
      int fd = events[i].data.fd;
      uint64_t expired;
      if (fd == 0) {
        if (!listen_to_orders()) return 0;
      } else if (fd == timer) {
        if (read(timer, &expired, sizeof expired) > 0)
          for (int n = slow_count; n-- > 0;)
            if (slow_fds[n] && viewers[slow_fds[n]] && viewers[slow_fds[n]]->stage == OPEN)
              hear(slow_fds[n], (uint64_t)(slow_bytes / SLOW_TICKS));
      } else if (viewers[fd]) {
        if (events[i].events & (EPOLLHUP | EPOLLERR)) leave(fd);
        else if (viewers[fd]->stage <= GREETING) greet(fd);
        else if (viewers[fd]->stage == ANSWERING && door == RTMP) hear_rtmp_answer(fd);
        else if (viewers[fd]->stage == ANSWERING) hear_answer(fd);
        else if (viewers[fd]->kind == READER && door >= HTTP) hear_stream(fd);
        else if (viewers[fd]->kind == READER) hear(fd, UINT64_MAX);
      }
    }
  }
}
