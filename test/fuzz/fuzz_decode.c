/*
 * fuzz_decode.c - any packet with a good checksum is read by the rules
 */
#include "audit.h"
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const at402_sender senders[] = {AT402_SENDER_UNKNOWN, AT402_SENDER_LOGGED_IN,
		AT402_SENDER_IN_PACKET};
	static const char protocols[] = {0, 'Z'};
	uint8_t    *bytes = fuzz_packet(data, size);
	at402_frame frame;

	if (bytes == NULL)
		return 0;
	REQUIRE(at402_frame_scan(bytes, size, &frame) == AT402_OK && frame.length == size);

	for (size_t p = 0; p < 2; p++)
	{
		bool		good[3];

		for (size_t s = 0; s < 3; s++)
		{
			at402_packet packet;
			at402_status status = at402_packet_open(&packet, bytes, size, protocols[p],
													senders[s]);
			const char *fault = audit_packet(&packet);

			if (fault != NULL)
				fprintf(stderr, "rule: %s\n", fault);
			REQUIRE(fault == NULL);
			REQUIRE(packet.problem.status == status);
			good[s] = status == AT402_OK;
		}
		/* the connection only says which reading is tried first */
		REQUIRE(good[0] == good[1] && good[0] == good[2]);
	}
	free(bytes);
	return 0;
}
