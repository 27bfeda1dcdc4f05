/*
 * bench_decode.c - how many reports a second src/core decodes, on one core
 *
 * For each frame: scan with checksum, find the reading, step through all
 * reports and modules, and visit every value.  The visitor only sums what it is
 * given: what a caller makes of the values is not measured.  Best of five runs
 * of about a second, so that other work of the machine counts little.
 */
#include <time.h>

#include "core/at402.h"
#include "vectors.h"

#define RUNS 5
#define RUN_S 1.0

/* Frames that are measured together. */
static vectors frames;

typedef struct totals
{
	uint64_t	reports;
	uint64_t	values;
	uint64_t	bytes;
	uint64_t	sum;
} totals;

static double
now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

static void
sum_value(void *context, at402_event event, const at402_field_def *field,
		  const at402_value *value)
{
	totals	   *t = context;

	(void) field;
	if (event == AT402_E_VALUE)
	{
		t->values++;
		t->sum += (uint64_t) value->raw + value->span.length;
	}
}

static void
decode_all(totals *t)
{
	for (size_t i = 0; i < frames.count; i++)
	{
		const uint8_t *bytes = frames.of[i].bytes;
		at402_frame frame;
		at402_packet packet;
		at402_report report = {0};

		if (at402_frame_scan(bytes, frames.of[i].length, &frame) != AT402_OK ||
			frame.kind != AT402_FRAME_PACKET ||
			at402_packet_open(&packet, bytes, frame.length, frames.of[i].protocol,
							  AT402_SENDER_UNKNOWN) != AT402_OK)
			continue;
		t->bytes += frame.length;
		while (at402_report_next(&packet, &report))
		{
			at402_module module = {0};

			t->reports++;
			while (at402_module_next(&report, &module))
				at402_module_visit(&module, sum_value, t);
		}
	}
}

static void
bench_decode(const char *name)
{
	totals		best = {0};
	double		best_s = 1;

	for (int run = 0; run < RUNS; run++)
	{
		totals		t = {0};
		double		start = now_s();
		double		s;

		do
			for (int i = 0; i < 100; i++)
				decode_all(&t);
		while ((s = now_s() - start) < RUN_S);
		if ((double) t.reports / s > (double) best.reports / best_s)
		{
			best = t;
			best_s = s;
		}
	}
	printf("%-34s %12.0f %12.0f %8.0f\n", name, (double) best.reports / best_s,
		   (double) best.values / best_s, (double) best.bytes / best_s / 1e6);
}

/* ---- frames in noise ---- */

#define CAPTURE ((size_t) 8 << 20)

/* The pattern again and again, to its end nothing but false beginnings of frames. */
static void
bench_find(const char *name, const char *pattern, size_t n)
{
	static at402_finder finder;
	uint8_t    *capture = malloc(CAPTURE);
	double		best_s = 0;

	for (size_t i = 0; i < CAPTURE; i++)
		capture[i] = (uint8_t) pattern[i % n];
	for (int run = 0; run < RUNS; run++)
	{
		double		start = now_s();
		double		s;
		size_t		at;
		size_t		length;

		at402_finder_init(&finder, capture, CAPTURE);
		while (at402_find_frame(&finder, &at, &length))
			;
		s = now_s() - start;
		if (run == 0 || s < best_s)
			best_s = s;
	}
	printf("%-34s %12s %12s %8.0f\n", name, "", "", (double) CAPTURE / best_s / 1e6);
	free(capture);
}

static void
print_machine(void)
{
	char		line[256];
	FILE	   *cpus = fopen("/proc/cpuinfo", "r");

	while (cpus != NULL && fgets(line, sizeof(line), cpus) != NULL)
		if (strncmp(line, "model name", 10) == 0)
		{
			printf("%s", strchr(line, ':') + 2);
			break;
		}
	if (cpus != NULL)
		fclose(cpus);
	printf("one thread, compiler %s\n\n", __VERSION__);
}

int
main(void)
{
	print_machine();
	printf("%-34s %12s %12s %8s\n", "", "reports/s", "values/s", "MB/s");

	vectors_read(&frames, "vectors/captured.jsonl");
	while (frames.count > 1)
		free(frames.of[--frames.count].bytes);
	bench_decode("captured packet, 2 modules");
	vectors_free(&frames);

	vectors_read(&frames, "vectors/captured.jsonl");
	bench_decode("all captured packets");
	vectors_free(&frames);

	vectors_read(&frames, "vectors/x.jsonl");
	vectors_read(&frames, "vectors/y.jsonl");
	bench_decode("golden mix of X and Y");
	vectors_free(&frames);

	bench_find("search in 8 MB of zeros", "\0", 1);
	bench_find("search in 8 MB of false packets", "X\xff\xff", 3);
	bench_find("search in 8 MB of false lines", "$", 1);
	return 0;
}
