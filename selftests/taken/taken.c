// SPDX-License-Identifier: GPL-2.0
/* Owns unix_create() as a live patch does, and leaves it as it is: kbus is to find it taken. */

#include <linux/ftrace.h>
#include <linux/module.h>

static void taken(unsigned long ip, unsigned long parent_ip, struct ftrace_ops *ops,
		  struct ftrace_regs *fregs)
{
}

static struct ftrace_ops ops = {
	.func = taken,
	/* Of those who may change where a call goes there can be one. */
	.flags = FTRACE_OPS_FL_SAVE_REGS | FTRACE_OPS_FL_IPMODIFY,
};

static int __init taken_init(void)
{
	char name[] = "unix_create";
	int err = ftrace_set_filter(&ops, name, strlen(name), 1);

	if (err)
		return err;
	err = register_ftrace_function(&ops);
	if (err)
		ftrace_free_filter(&ops);
	return err;
}

static void __exit taken_exit(void)
{
	unregister_ftrace_function(&ops);
	ftrace_free_filter(&ops);
}

module_init(taken_init);
module_exit(taken_exit);
MODULE_AUTHOR("The KBUS authors");
MODULE_DESCRIPTION("Owns unix_create(), for a test of kbus");
MODULE_LICENSE("GPL");
