/*
 * sim_command.c - a tracker that is told what to do, and asks who may drive
 *
 * Commands come between the bytes 0x06, $CODE,arguments up to CR LF, several in
 * one message.  They are answered one by one, with OK, UN (unknown), ER (out of
 * range), PR (the PIN is missing) or data.  An awkward tracker sometimes answers
 * after its next report, in pieces around it, or never; and never twice.
 *
 * Written by hand from the protocol's description, as sim_wire.c is.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

/* ---- what comes ---- */

/* Takes the text out of these bytes and returns how many are left. */
size_t
sim_talk_hear(sim_talk *talk, uint8_t *bytes, size_t length)
{
	size_t		left = 0;

	for (size_t i = 0; i < length; i++)
	{
		if (talk->heard_length == 0 && bytes[i] != '$')
			bytes[left++] = bytes[i];
		else if (talk->heard_length < sizeof(talk->heard) - 1)
			talk->heard[talk->heard_length++] = (char) bytes[i];
		if (bytes[i] == '\n' && talk->heard_length > 0)
		{
			talk->heard[talk->heard_length] = '\0';
			talk->heard[strcspn(talk->heard, "\r\n")] = '\0';
			talk->heard_length = 0;
			/* the word on a driver changes nothing here */
			talk->complete = strncmp(talk->heard, "$DRID,", 6) != 0;
		}
	}
	return left;
}

/* ---- what it does ---- */

static const struct
{
	const char *code;
	long		low;			/* of its first argument */
	long		high;
}			known[] = {
	{"BOOT", 0, 0}, {"DIST", 0, 65535}, {"GEOD", 0, 100}, {"GEOF", 1, 100}, {"HEAD", 0, 180},
	{"IMOB", 0, 4}, {"JSEC", 0, 65535}, {"JTIM", 0, 65535}, {"POLL", 0, 0}, {"SDIG", 1, 8},
	{"STIM", 0, 65535}, {"TCPT", 1, 255}
};

static void
add_answer(sim_talk *talk, const char *text)
{
	size_t		length = strlen(talk->answer);

	snprintf(talk->answer + length, sizeof(talk->answer) - length, "%s", text);
}

static void
add_data(sim_talk *talk, const sim_vehicle *v, const char *imei, const char *code)
{
	char		line[200];

	if (strcmp(code, "IMEI") == 0)
		snprintf(line, sizeof(line), "$IMEI,%s", imei);
	else if (strcmp(code, "POSN") == 0)
		snprintf(line, sizeof(line), "$POSN,%.6f,%.6f,%.0f,%.0f", v->fix.latitude_deg,
				 v->fix.longitude_deg, v->fix.speed_kmh, v->fix.heading_deg);
	else if (strcmp(code, "STAT") == 0)
		snprintf(line, sizeof(line), "$STAT,%s,7.0.70.3,%.1f,%.0f", imei, v->external_v,
				 v->battery_percent);
	else
		snprintf(line, sizeof(line), "$PARA,DIST,500\r$PARA,JSEC,30\r$PARA,HEAD,45");
	add_answer(talk, line);
}

static bool
is_query(const char *code)
{
	return strcmp(code, "IMEI") == 0 || strcmp(code, "POSN") == 0 || strcmp(code, "STAT") == 0 ||
		strcmp(code, "PARA") == 0;
}

/* OK, UN or ER; and does it. */
static const char *
obey(sim_talk *talk, sim_vehicle *v, const char *code, const char *arguments)
{
	char	   *end;
	long		first = strtol(arguments, &end, 10);
	unsigned	i = 0;

	while (i < sizeof(known) / sizeof(known[0]) && strcmp(known[i].code, code) != 0)
		i++;
	if (i == sizeof(known) / sizeof(known[0]))
		return "UN";
	if (first < known[i].low || first > known[i].high || (end == arguments && known[i].high > 0))
		return "ER";
	talk->polled |= strcmp(code, "POLL") == 0;
	if (strcmp(code, "SDIG") == 0)
	{
		if (strcmp(end, ",0") != 0 && strcmp(end, ",1") != 0)
			return "ER";
		v->outputs &= (uint8_t) ~(1 << (first - 1));
		v->outputs |= (uint8_t) ((end[1] - '0') << (first - 1));
	}
	return "OK";
}

/* One command of a message: $CODE,arguments */
static void
answer_one(sim_talk *talk, sim_vehicle *v, const char *imei, char *command, bool may)
{
	char		status[16];
	char		code[5] = "";
	const char *arguments = strlen(command) > 5 && command[5] == ',' ? command + 6 : "";

	snprintf(code, sizeof(code), "%s", command + 1);
	if (talk->answer[0] != '\0')
		add_answer(talk, "\r");
	if (may && is_query(code))
		add_data(talk, v, imei, code);
	else
	{
		snprintf(status, sizeof(status), "$%s,%s", code,
				 may ? obey(talk, v, code, arguments) : "PR");
		add_answer(talk, status);
	}
}

/* Is the PIN that the device wants at the head of the message?  Takes it off. */
static bool
take_pin(char **message, const char *pin)
{
	size_t		length = pin != NULL ? strlen(pin) : 0;
	bool		right = pin == NULL ||
		(strncmp(*message, "$PASS,", 6) == 0 && strncmp(*message + 6, pin, length) == 0 &&
		 (*message)[6 + length] == '$');

	if (strncmp(*message, "$PASS,", 6) == 0)
	{
		char	   *next = strchr(*message + 1, '$');

		*message = next != NULL ? next : *message + strlen(*message);
	}
	return right;
}

bool
sim_talk_answer(sim_talk *talk, sim_vehicle *vehicle, const char *imei, const char *pin,
				double mood)
{
	char	   *message = talk->heard;
	bool		may;

	if (!talk->complete)
		return false;
	talk->complete = false;
	may = take_pin(&message, pin);
	talk->answer[0] = '\0';
	while (*message == '$')
	{
		char	   *next = strchr(message + 1, '$');

		if (next != NULL)
			*next = '\0';
		answer_one(talk, vehicle, imei, message, may);
		if (next != NULL)
			*next = '$';
		message = next != NULL ? next : message + strlen(message);
	}
	add_answer(talk, "\r\n");
	talk->answer_at = talk->answer;
	talk->now = strlen(talk->answer);
	talk->later = false;
	if (mood < 1)				/* in two pieces, late, or never */
	{
		talk->now = mood < 1.0 / 3 ? talk->now / 2 : 0;
		talk->later = mood < 2.0 / 3;
	}
	return true;
}

void
sim_talk_ask(sim_talk *talk, const char *imei, uint64_t driver)
{
	snprintf(talk->question, sizeof(talk->question), "$DRID,AT402,CHECK,%s,01,%012llX\r\n", imei,
			 (unsigned long long) driver);
}

/* ---- what it says ---- */

size_t
sim_talk_say(sim_talk *talk, const char **text)
{
	size_t		length;

	if (talk->question[0] != '\0')
	{
		*text = strcpy(talk->said, talk->question);
		talk->question[0] = '\0';
		return strlen(*text);
	}
	length = talk->now;
	*text = talk->answer_at;
	talk->answer_at += length;
	talk->now = 0;
	return length;
}

void
sim_talk_goes_on(sim_talk *talk)
{
	if (!talk->later)
		return;
	talk->later = false;
	talk->now = strlen(talk->answer_at);
}

void
sim_talk_end(sim_talk *talk)
{
	talk->heard_length = 0;
	talk->complete = talk->later = false;
	talk->now = 0;
	talk->question[0] = '\0';
}
