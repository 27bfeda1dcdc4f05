/*
 * replay.c - runs a fuzz target on inputs from files, without libFuzzer
 *
 * Inputs are all frames of test/vectors, and what test/fuzz/corpus keeps for
 * this target: inputs that the fuzzer found worth keeping, and every input that
 * has ever broken a rule.
 */
#include "fuzz.h"
#include "vectors.h"

int
main(void)
{
	static vectors inputs;

	vectors_read(&inputs, "vectors/captured.jsonl");
	vectors_read(&inputs, "vectors/other.jsonl");
	vectors_read(&inputs, "vectors/x.jsonl");
	vectors_read(&inputs, "vectors/y.jsonl");
	vectors_read(&inputs, "fuzz/corpus/" FUZZ_TARGET ".hex");
	for (size_t i = 0; i < inputs.count; i++)
		LLVMFuzzerTestOneInput(inputs.of[i].bytes, inputs.of[i].length);
	printf("%s: %zu inputs replayed\n", FUZZ_TARGET, inputs.count);
	vectors_free(&inputs);
	return 0;
}
