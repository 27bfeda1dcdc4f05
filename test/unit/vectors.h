/*
 * vectors.h - frames and other inputs from files, for tests, fuzzers and
 * benchmarks
 *
 * Two forms of file: the jsonl files of test/vectors, of which only the key
 * frame is read here, and the hex files of test/fuzz/corpus with one input a
 * line, where a # begins a comment.  Each input lies in an allocation of its
 * own, so that a sanitizer sees every byte read past its end.
 */
#ifndef AT402_VECTORS_H
#define AT402_VECTORS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VECTORS_MAX 4096

typedef struct vectors
{
	size_t		count;
	struct
	{
		uint8_t    *bytes;
		size_t		length;
		char		protocol;	/* 'Z' where a login has to say so, else 0 */
	}			of[VECTORS_MAX];
} vectors;

static inline int
vectors_nibble(char digit)
{
	static const char digits[] = "0123456789abcdef0123456789ABCDEF";
	const char *found = digit != 0 ? strchr(digits, digit) : NULL;

	return found != NULL ? (int) (found - digits) % 16 : -1;
}

/* Reads hex up to the first other character; returns the number of bytes. */
static inline size_t
vectors_unhex(const char *hex, uint8_t *bytes)
{
	size_t		length = 0;

	for (; vectors_nibble(hex[0]) >= 0 && vectors_nibble(hex[1]) >= 0; hex += 2)
		bytes[length++] = (uint8_t) (vectors_nibble(hex[0]) << 4 | vectors_nibble(hex[1]));
	return length;
}

/* Adds the inputs of a file in the folder test; ends the program if there are none. */
static inline void
vectors_read(vectors *v, const char *name)
{
	static const char key[] = "\"frame\": \"";
	char		path[4096];
	char	   *line = NULL;
	size_t		room = 0;
	size_t		before = v->count;
	FILE	   *file;

	snprintf(path, sizeof(path), "%s/%s", AT402_TEST_DIR, name);
	file = fopen(path, "r");
	while (file != NULL && v->count < VECTORS_MAX && getline(&line, &room, file) > 0)
	{
		const char *frame = strstr(line, key);
		uint8_t    *bytes = malloc(strlen(line));
		size_t		length = vectors_unhex(frame ? frame + sizeof(key) - 1 : line, bytes);

		if (length == 0)
		{
			free(bytes);		/* a comment */
			continue;
		}
		v->of[v->count].bytes = realloc(bytes, length);
		v->of[v->count].length = length;
		v->of[v->count].protocol = strstr(line, "\"protocol\": \"Z\", \"frame\"") ? 'Z' : 0;
		v->count++;
	}
	free(line);
	if (v->count == before || v->count == VECTORS_MAX)
	{
		fprintf(stderr, "%s: no inputs, or too many\n", path);
		exit(2);
	}
	fclose(file);
}

static inline void
vectors_free(vectors *v)
{
	while (v->count > 0)
		free(v->of[--v->count].bytes);
}

#endif							/* AT402_VECTORS_H */
