/*
 * input.c - a frame on its way in: what a login line says of its sender
 */
#include <string.h>

#include "input.h"

/* What a device calls itself is shown to people. */
static char
printable(uint8_t byte)
{
	return byte >= ' ' && byte <= '~' ? (char) byte : '?';
}

void
at402_input_login(at402_input *input)
{
	at402_origin *from = &input->from;
	at402_login login;
	size_t		length;

	at402_login_parse(input->bytes, input->length, &login);
	length = login.imei.length < AT402_SENDER_SIZE ? login.imei.length : AT402_SENDER_SIZE - 1;
	for (size_t i = 0; i < length; i++)
		from->imei[i] = printable(login.imei.bytes[i]);
	memset(from->imei + length, 0, AT402_SENDER_SIZE - length);
	from->protocol = login.protocol.length > 0 ? printable(login.protocol.bytes[0]) : '\0';
}
