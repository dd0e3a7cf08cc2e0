/*
 * Give up every right about files but those that are listed, then become the program of a jail.
 *
 *     landlock-exec STATUS HANDLED[,PORTS[,SCOPES[,PORT]]] [RIGHTS PATH]... -- PROGRAM [ARGUMENT]...
 *
 * STATUS is the number of a descriptor, HANDLED the rights about files of a Landlock ruleset, PORTS and SCOPES those about
 * TCP and about processes, RIGHTS those that are left below PATH, and PORT the one that may be connected to
 * (linux/landlock.h); all in hexadecimal. The launcher computes them: this program decides nothing. It is one ruleset,
 * because one without rights about files forbids, beside one that has some, each rename into another directory.
 *
 * It is the first thing that runs in a jail, behind bubblewrap and the filter of system calls, and stands there because
 * a process under a ruleset about files can mount nothing, and bubblewrap mounts. On STATUS it says
 * {"confined": true} right before PROGRAM, or {"failed": WHAT} and ends with the number of the error. PROGRAM inherits
 * nothing but 0, 1 and 2, so nobody else can say either.
 *
 * It has no library, so it costs one more execve; and no headers, so that any compiler builds it.
 * Sources: landlock(7), openat2(2), close_range(2), and the System V ABI of both machines for _start.
 */

typedef unsigned long word; /* 64 bits on both machines */

#if defined(__x86_64__)
enum { WRITE = 1, CLOSE = 3, EXECVE = 59, PRCTL = 157, EXIT_GROUP = 231 };
__asm__(".globl _start\n_start: xor %ebp, %ebp\n mov %rsp, %rdi\n and $-16, %rsp\n call start\n");

static long call(word number, word a, word b, word c, word d, word e)
{
	register word fourth __asm__("r10") = d, fifth __asm__("r8") = e;
	long result;
	__asm__ volatile("syscall"
	                 : "=a"(result)
	                 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth), "r"(fifth)
	                 : "rcx", "r11", "memory");
	return result;
}
#elif defined(__aarch64__)
enum { WRITE = 64, CLOSE = 57, EXECVE = 221, PRCTL = 167, EXIT_GROUP = 94 };
__asm__(".globl _start\n_start: mov x29, #0\n mov x30, #0\n mov x0, sp\n bl start\n");

static long call(word number, word a, word b, word c, word d, word e)
{
	register word x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b;
	register word x2 __asm__("x2") = c, x3 __asm__("x3") = d, x4 __asm__("x4") = e;
	__asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
	return (long)x0;
}
#else
#error "jails run on x86-64 and 64-bit Arm"
#endif

/* The same on every architecture. */
enum { CLOSE_RANGE = 436, OPENAT2 = 437, CREATE_RULESET = 444, ADD_RULE = 445, RESTRICT_SELF = 446 };
enum { PR_SET_NO_NEW_PRIVS = 38, RULE_PATH_BENEATH = 1, RULE_NET_PORT = 2, CONNECT_TCP = 2, CLOSE_RANGE_CLOEXEC = 4, EINVAL = 22 };
enum { O_CLOEXEC = 02000000, O_PATH = 010000000, NO_MAGICLINKS = 2, NO_SYMLINKS = 4 };

struct ruleset { word files, ports, scopes; };
struct port { word rights, number; };
struct how { word flags, mode, resolve; };
struct rule { word rights; int parent; } __attribute__((packed));

/* By this the gateway knows a program that was built from another version of this file. */
__attribute__((used)) static const char source[] = "source " SOURCE_SHA256;

static word status = -1;

__attribute__((noreturn)) static void fail(const char *said, word size, long error)
{
	call(WRITE, status, (word)said, size, 0, 0);
	for (;;)
		call(EXIT_GROUP, error, 0, 0, 0, 0);
}

#define SAID(what) "{\"failed\": \"" what "\"}\n"
#define FAIL(what, error) fail(SAID(what), sizeof SAID(what) - 1, error)
#define TRY(what, ...) ({ long made = call(__VA_ARGS__); if (made < 0) FAIL(what, -made); made; })

/* What stands behind the number. */
static const char *read(const char *text, word *found)
{
	word value = 0;
	int digits = 0;
	for (; *text && *text != ','; text++, digits++) {
		int digit = *text >= '0' && *text <= '9' ? *text - '0' : *text >= 'a' && *text <= 'f' ? *text - 'a' + 10 : -1;
		if (digit < 0 || digits == 16)
			FAIL("arguments", EINVAL);
		value = value << 4 | digit;
	}
	if (!digits)
		FAIL("arguments", EINVAL);
	*found = value;
	return text;
}

static word number(const char *text)
{
	word value;
	if (*read(text, &value))
		FAIL("arguments", EINVAL);
	return value;
}

static void allow(int ruleset, word rights, const char *path)
{
	struct how how = {O_PATH | O_CLOEXEC, 0, NO_MAGICLINKS | NO_SYMLINKS};
	struct rule rule = {rights, TRY("openat2", OPENAT2, -1, (word)path, (word)&how, sizeof how, 0)};
	TRY("landlock_add_rule", ADD_RULE, ruleset, RULE_PATH_BENEATH, (word)&rule, 0, 0);
	TRY("close", CLOSE, rule.parent, 0, 0, 0, 0);
}

/* The kernel begins with the stack at: argc, argv..., 0, envp..., 0. */
__attribute__((noreturn, used)) void start(word *stack)
{
	static const char confined[] = "{\"confined\": true}\n";
	char **arguments = (char **)(stack + 1), **environment = arguments + stack[0] + 1;
	if (stack[0] < 5)
		FAIL("arguments", EINVAL);
	status = number(arguments[1]);

	struct ruleset attributes = {0, 0, 0};
	struct port port = {CONNECT_TCP, 0};
	const char *rest = read(arguments[2], &attributes.files);
	if (*rest)
		rest = read(rest + 1, &attributes.ports);
	if (*rest)
		rest = read(rest + 1, &attributes.scopes);
	if (*rest)
		rest = read(rest + 1, &port.number);
	if (*rest)
		FAIL("arguments", EINVAL);
	int ruleset = TRY("landlock_create_ruleset", CREATE_RULESET, (word)&attributes, sizeof attributes, 0, 0, 0);
	if (port.number)
		TRY("landlock_add_rule", ADD_RULE, ruleset, RULE_NET_PORT, (word)&port, 0, 0);
	char **next = arguments + 3;
	for (; next[0] && (next[0][0] != '-' || next[0][1] != '-' || next[0][2]); next += 2) {
		word rights = number(next[0]);
		if (!next[1] || next[1][0] != '/')
			FAIL("arguments", EINVAL);
		allow(ruleset, rights, next[1]);
	}
	if (!next[0] || !next[1] || next[1][0] != '/')
		FAIL("arguments", EINVAL);

	TRY("no_new_privs", PRCTL, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	TRY("landlock_restrict_self", RESTRICT_SELF, ruleset, 0, 0, 0, 0);
	TRY("close_range", CLOSE_RANGE, 3, 0xffffffff, CLOSE_RANGE_CLOEXEC, 0, 0);
	TRY("status", WRITE, status, (word)confined, sizeof confined - 1, 0, 0);
	FAIL("execve", -call(EXECVE, (word)next[1], (word)(next + 1), (word)environment, 0, 0));
}
