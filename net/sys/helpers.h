/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The whole border between C and Rust: what is bound beyond the kernel crate's own bindings.
 *
 * Exported functions:
 * @bind sk_alloc
 * @bind get_mem_cgroup_from_mm
 * @bind proto_register
 * @bind proto_unregister
 * @bind sock_register
 * @bind sock_unregister
 * @bind sock_init_data
 * @bind sock_setsockopt
 * @bind sock_no_socketpair
 * @bind sock_no_accept
 * @bind sock_no_listen
 * @bind sock_no_mmap
 * @bind release_sock
 * @bind put_cmsg
 * @bind fget_raw
 * @bind scm_fp_dup
 * @bind __scm_destroy
 * @bind sock_from_file
 * @bind file_path
 * @bind register_kprobe
 * @bind unregister_kprobe
 * @bind enable_kprobe
 * @bind synchronize_rcu_tasks
 * @bind register_pernet_subsys
 * @bind unregister_pernet_subsys
 * @bind register_net_sysctl_sz
 * @bind unregister_net_sysctl_table
 * @bind proc_dointvec
 * @bind proc_doulongvec_minmax
 * @bind in_egroup_p
 * @bind from_kgid_munged
 * @bind from_kuid_munged
 * @bind proc_create_net_data
 * @bind remove_proc_entry
 * @bind kern_path
 * @bind start_creating_path
 * @bind end_creating_path
 *
 * Inline functions and macros, each wrapped by a helper of one call:
 */
#ifndef _KBUS_HELPERS_H
#define _KBUS_HELPERS_H

#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/dcache.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/fs_struct.h>
#include <linux/kprobes.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/namei.h>
#include <linux/net.h>
#include <linux/nsproxy.h>
#include <linux/pid.h>
#include <linux/proc_fs.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/user.h>
#include <linux/seccomp.h>
#include <linux/security.h>
#include <linux/seq_file.h>
#include <linux/sockptr.h>
#include <linux/sysctl.h>
#include <linux/uidgid.h>
#include <linux/workqueue.h>
#include <net/net_namespace.h>
#include <net/netns/generic.h>
#include <net/scm.h>
#include <net/sock.h>

/* struct sock is opaque to the kernel crate, and some macros are. */
#ifdef __BINDGEN__
const size_t RUST_CONST_HELPER_KBUS_SOCK_SIZE = sizeof(struct sock);
const int RUST_CONST_HELPER_KBUS_SOCKWQ_ASYNC_NOSPACE = SOCKWQ_ASYNC_NOSPACE;
const gfp_t RUST_CONST_HELPER_KBUS_GFP_KILLS_NOBODY =
	GFP_KERNEL_ACCOUNT | __GFP_NORETRY | __GFP_NOWARN;
const u32 RUST_CONST_HELPER_KBUS_KPROBE_FLAG_DISABLED = KPROBE_FLAG_DISABLED;
const u32 RUST_CONST_HELPER_KBUS_LOOKUP_FOLLOW = LOOKUP_FOLLOW;
const unsigned long RUST_CONST_HELPER_KBUS_SB_NOUSER = SB_NOUSER;
#endif

struct mem_cgroup *
rust_helper_kbus_set_active_memcg(struct mem_cgroup *memcg);
void *rust_helper_kbus_kvmalloc(size_t size, gfp_t flags);
struct workqueue_struct *
rust_helper_kbus_alloc_workqueue(const char *name);
void rust_helper_kbus_mem_cgroup_get(struct mem_cgroup *memcg);
void rust_helper_kbus_mem_cgroup_put(struct mem_cgroup *memcg);
void *rust_helper_kbus_sk_user_data(const struct sock *sk);
void rust_helper_kbus_set_sk_user_data(struct sock *sk, void *data);
void rust_helper_kbus_sk_data_ready(struct sock *sk);
bool rust_helper_kbus_sk_is_waited_for(struct sock *sk);
void rust_helper_kbus_sk_state_change(struct sock *sk);
void rust_helper_kbus_sk_write_space(struct sock *sk);
void rust_helper_kbus_sk_set_bit(int nr, struct sock *sk);
void rust_helper_kbus_set_sk_protocol(struct sock *sk, u16 protocol);
int rust_helper_kbus_sk_rcvbuf(const struct sock *sk);
spinlock_t *rust_helper_kbus_sk_peer_lock(struct sock *sk);
struct pid **rust_helper_kbus_sk_peer_pid(struct sock *sk);
const struct cred **rust_helper_kbus_sk_peer_cred(struct sock *sk);
void rust_helper_kbus_sock_hold(struct sock *sk);
void rust_helper_kbus_sock_put(struct sock *sk);
void rust_helper_kbus_sock_orphan(struct sock *sk);
void rust_helper_kbus_sock_poll_wait(struct file *filp, struct socket *sock,
				     poll_table *p);
int rust_helper_kbus_copy_from_sockptr_offset(void *dst, sockptr_t src,
					      size_t offset, size_t size);
bool rust_helper_kbus_sock_flag(const struct sock *sk, enum sock_flags flag);
void rust_helper_kbus_sock_valbool_flag(struct sock *sk, enum sock_flags flag,
					bool on);
void rust_helper_kbus_lock_sock(struct sock *sk);
struct net *rust_helper_kbus_sock_net(const struct sock *sk);
void rust_helper_kbus_sock_prot_inuse_add(const struct net *net,
					  const struct proto *prot, int val);
int rust_helper_kbus_sock_error(struct sock *sk);
struct socket *rust_helper_kbus_sk_socket(const struct sock *sk);
void rust_helper_kbus_lock_sk_callback(struct sock *sk);
void rust_helper_kbus_unlock_sk_callback(struct sock *sk);
unsigned long rust_helper_kbus_totalram_pages(void);
long rust_helper_kbus_sock_rcvtimeo(const struct sock *sk, bool noblock);
long rust_helper_kbus_sock_sndtimeo(const struct sock *sk, bool noblock);
bool rust_helper_kbus_task_no_new_privs(struct task_struct *task);
int rust_helper_kbus_seccomp_mode(struct seccomp *s);
int rust_helper_kbus_fatal_signal_pending(struct task_struct *task);
void rust_helper_kbus_cond_resched(void);
const struct cred *rust_helper_kbus_current_cred(void);
kuid_t rust_helper_kbus_current_uid(void);
kuid_t rust_helper_kbus_current_suid(void);
kgid_t rust_helper_kbus_current_gid(void);
kgid_t rust_helper_kbus_current_egid(void);
kgid_t rust_helper_kbus_current_sgid(void);
struct pid *rust_helper_kbus_get_pid(struct pid *pid);
struct user_struct *rust_helper_kbus_current_user(void);
struct user_struct *rust_helper_kbus_get_uid(struct user_struct *user);
unsigned long rust_helper_kbus_task_rlimit(const struct task_struct *task,
					   unsigned int limit);
void rust_helper_kbus_scm_detach_fds(struct msghdr *msg,
				     struct scm_cookie *scm);
struct user_namespace *rust_helper_kbus_current_user_ns(void);
u64 rust_helper_kbus_user_ns_id(const struct user_namespace *ns);
void *rust_helper_kbus_net_generic(const struct net *net, unsigned int id);
struct net *rust_helper_kbus_current_net(void);
int rust_helper_kbus_put_user(int value, int __user *ptr);
bool rust_helper_kbus_try_module_get(struct module *module);
void rust_helper_kbus_module_put(struct module *module);
int rust_helper_kbus_current_umask(void);
struct mnt_idmap *rust_helper_kbus_mnt_idmap(const struct vfsmount *mnt);
struct inode *rust_helper_kbus_d_backing_inode(const struct dentry *upper);
struct dentry *rust_helper_kbus_dget(struct dentry *dentry);
int rust_helper_kbus_d_unlinked(const struct dentry *dentry);
struct inode *rust_helper_kbus_SOCK_INODE(struct socket *socket);
const struct cred *rust_helper_kbus_kernel_cred(void);
const struct cred *
rust_helper_kbus_override_creds(const struct cred *override_cred);
const struct cred *
rust_helper_kbus_revert_creds(const struct cred *revert_cred);
int rust_helper_kbus_security_unix_find(const struct path *path,
					struct sock *other, int flags);
int rust_helper_kbus_path_permission(const struct path *path, int mask);
int rust_helper_kbus_security_path_mknod(const struct path *dir,
					 struct dentry *dentry, umode_t mode,
					 unsigned int dev);
vfsuid_t rust_helper_kbus_i_uid_into_vfsuid(struct mnt_idmap *idmap,
					    const struct inode *inode);
vfsgid_t rust_helper_kbus_i_gid_into_vfsgid(struct mnt_idmap *idmap,
					    const struct inode *inode);
kuid_t rust_helper_kbus_vfsuid_into_kuid(vfsuid_t vfsuid);
kgid_t rust_helper_kbus_vfsgid_into_kgid(vfsgid_t vfsgid);
void rust_helper_kbus_security_current_getlsmprop_subj(struct lsm_prop *prop);
int rust_helper_kbus_security_lsmprop_to_secctx(struct lsm_prop *prop,
						struct lsm_context *cp,
						int lsmid);

#endif
