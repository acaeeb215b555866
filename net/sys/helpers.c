// SPDX-License-Identifier: GPL-2.0
/* Inline functions and macros of the kernel, one call each, for Rust. */

#include "helpers.h"

/* As in rust/helpers/helpers.c; without link-time optimisation it marks a plain call. */
#define __rust_helper

__rust_helper struct mem_cgroup *
rust_helper_kbus_set_active_memcg(struct mem_cgroup *memcg)
{
	return set_active_memcg(memcg);
}

__rust_helper void *rust_helper_kbus_kvmalloc(size_t size, gfp_t flags)
{
	return kvmalloc(size, flags);
}

__rust_helper void rust_helper_kbus_mem_cgroup_get(struct mem_cgroup *memcg)
{
#ifdef CONFIG_MEMCG
	if (memcg)
		css_get(&memcg->css);
#endif
}

__rust_helper struct workqueue_struct *
rust_helper_kbus_alloc_workqueue(const char *name)
{
	return alloc_workqueue("%s", WQ_UNBOUND, 0, name);
}

__rust_helper void rust_helper_kbus_mem_cgroup_put(struct mem_cgroup *memcg)
{
	mem_cgroup_put(memcg);
}

__rust_helper void *rust_helper_kbus_sk_user_data(const struct sock *sk)
{
	return READ_ONCE(sk->sk_user_data);
}

__rust_helper void rust_helper_kbus_set_sk_user_data(struct sock *sk,
						     void *data)
{
	WRITE_ONCE(sk->sk_user_data, data);
}

__rust_helper void rust_helper_kbus_sk_state_change(struct sock *sk)
{
	sk->sk_state_change(sk);
}

__rust_helper void rust_helper_kbus_sk_write_space(struct sock *sk)
{
	sk->sk_write_space(sk);
}

__rust_helper void rust_helper_kbus_sk_set_bit(int nr, struct sock *sk)
{
	sk_set_bit(nr, sk);
}

__rust_helper void rust_helper_kbus_set_sk_protocol(struct sock *sk,
						    u16 protocol)
{
	sk->sk_protocol = protocol;
}

__rust_helper int rust_helper_kbus_sk_rcvbuf(const struct sock *sk)
{
	return READ_ONCE(sk->sk_rcvbuf);
}

__rust_helper spinlock_t *rust_helper_kbus_sk_peer_lock(struct sock *sk)
{
	return &sk->sk_peer_lock;
}

__rust_helper struct pid **rust_helper_kbus_sk_peer_pid(struct sock *sk)
{
	return &sk->sk_peer_pid;
}

__rust_helper const struct cred **
rust_helper_kbus_sk_peer_cred(struct sock *sk)
{
	return &sk->sk_peer_cred;
}

__rust_helper void rust_helper_kbus_sk_data_ready(struct sock *sk)
{
	sk->sk_data_ready(sk);
}

/* Who calls this is in a read section of RCU. */
__rust_helper bool rust_helper_kbus_sk_is_waited_for(struct sock *sk)
{
	struct socket_wq *wq = rcu_dereference(sk->sk_wq);

	/* A full barrier comes before this: see Sock::is_waited_for(). */
	return wq && (waitqueue_active(&wq->wait) || sock_flag(sk, SOCK_FASYNC));
}

__rust_helper void rust_helper_kbus_sock_hold(struct sock *sk)
{
	sock_hold(sk);
}

__rust_helper void rust_helper_kbus_sock_put(struct sock *sk)
{
	sock_put(sk);
}

__rust_helper void rust_helper_kbus_sock_orphan(struct sock *sk)
{
	sock_orphan(sk);
}

__rust_helper void rust_helper_kbus_sock_poll_wait(struct file *filp,
						   struct socket *sock,
						   poll_table *p)
{
	sock_poll_wait(filp, sock, p);
}

__rust_helper int
rust_helper_kbus_copy_from_sockptr_offset(void *dst, sockptr_t src,
					  size_t offset, size_t size)
{
	return copy_from_sockptr_offset(dst, src, offset, size);
}

__rust_helper bool rust_helper_kbus_sock_flag(const struct sock *sk,
					      enum sock_flags flag)
{
	return sock_flag(sk, flag);
}

__rust_helper void rust_helper_kbus_sock_valbool_flag(struct sock *sk,
						      enum sock_flags flag,
						      bool on)
{
	sock_valbool_flag(sk, flag, on);
}

__rust_helper void rust_helper_kbus_lock_sock(struct sock *sk)
{
	lock_sock(sk);
}

__rust_helper struct net *rust_helper_kbus_sock_net(const struct sock *sk)
{
	return sock_net(sk);
}

__rust_helper void
rust_helper_kbus_sock_prot_inuse_add(const struct net *net,
				     const struct proto *prot, int val)
{
	sock_prot_inuse_add(net, prot, val);
}

__rust_helper int rust_helper_kbus_sock_error(struct sock *sk)
{
	return sock_error(sk);
}

__rust_helper struct socket *
rust_helper_kbus_sk_socket(const struct sock *sk)
{
	return sk->sk_socket;
}

__rust_helper void rust_helper_kbus_lock_sk_callback(struct sock *sk)
	__acquires(&sk->sk_callback_lock)
{
	read_lock_bh(&sk->sk_callback_lock);
}

__rust_helper void rust_helper_kbus_unlock_sk_callback(struct sock *sk)
	__releases(&sk->sk_callback_lock)
{
	read_unlock_bh(&sk->sk_callback_lock);
}

__rust_helper unsigned long rust_helper_kbus_totalram_pages(void)
{
	return totalram_pages();
}

__rust_helper long rust_helper_kbus_sock_rcvtimeo(const struct sock *sk,
						  bool noblock)
{
	return sock_rcvtimeo(sk, noblock);
}

__rust_helper long rust_helper_kbus_sock_sndtimeo(const struct sock *sk,
						  bool noblock)
{
	return sock_sndtimeo(sk, noblock);
}

__rust_helper bool rust_helper_kbus_task_no_new_privs(struct task_struct *task)
{
	return task_no_new_privs(task);
}

__rust_helper int rust_helper_kbus_seccomp_mode(struct seccomp *s)
{
	return seccomp_mode(s);
}

__rust_helper int
rust_helper_kbus_fatal_signal_pending(struct task_struct *task)
{
	return fatal_signal_pending(task);
}

__rust_helper void rust_helper_kbus_cond_resched(void)
{
	cond_resched();
}

__rust_helper const struct cred *rust_helper_kbus_current_cred(void)
{
	return current_cred();
}

__rust_helper kuid_t rust_helper_kbus_current_uid(void)
{
	return current_uid();
}

__rust_helper kuid_t rust_helper_kbus_current_suid(void)
{
	return current_suid();
}

__rust_helper kgid_t rust_helper_kbus_current_gid(void)
{
	return current_gid();
}

__rust_helper kgid_t rust_helper_kbus_current_sgid(void)
{
	return current_sgid();
}

__rust_helper struct pid *rust_helper_kbus_get_pid(struct pid *pid)
{
	return get_pid(pid);
}

__rust_helper struct user_struct *rust_helper_kbus_current_user(void)
{
	return current_user();
}

__rust_helper struct user_struct *
rust_helper_kbus_get_uid(struct user_struct *user)
{
	return get_uid(user);
}

__rust_helper unsigned long
rust_helper_kbus_task_rlimit(const struct task_struct *task, unsigned int limit)
{
	return task_rlimit(task, limit);
}

/* Linux 7.3 adds an argument: whether what does not fit is told by numbers. */
#ifdef KBUS_SCM_NOTRUNC
#define scm_detach_fds(msg, scm) scm_detach_fds(msg, scm, false)
#endif

__rust_helper void rust_helper_kbus_scm_detach_fds(struct msghdr *msg,
						   struct scm_cookie *scm)
{
	scm_detach_fds(msg, scm);
}

__rust_helper kgid_t rust_helper_kbus_current_egid(void)
{
	return current_egid();
}

__rust_helper struct user_namespace *rust_helper_kbus_current_user_ns(void)
{
	return current_user_ns();
}

__rust_helper u64
rust_helper_kbus_user_ns_id(const struct user_namespace *ns)
{
	return ns->ns.ns_id;
}

__rust_helper void *rust_helper_kbus_net_generic(const struct net *net,
						 unsigned int id)
{
	return net_generic(net, id);
}

__rust_helper struct net *rust_helper_kbus_current_net(void)
{
	return current->nsproxy->net_ns;
}

__rust_helper int rust_helper_kbus_put_user(int value, int __user *ptr)
{
	return put_user(value, ptr);
}

__rust_helper bool rust_helper_kbus_try_module_get(struct module *module)
{
	return try_module_get(module);
}

__rust_helper void rust_helper_kbus_module_put(struct module *module)
{
	module_put(module);
}

__rust_helper int rust_helper_kbus_current_umask(void)
{
	return current_umask();
}

__rust_helper struct mnt_idmap *
rust_helper_kbus_mnt_idmap(const struct vfsmount *mnt)
{
	return mnt_idmap(mnt);
}

__rust_helper struct inode *
rust_helper_kbus_d_backing_inode(const struct dentry *upper)
{
	return d_backing_inode(upper);
}

__rust_helper struct dentry *rust_helper_kbus_dget(struct dentry *dentry)
{
	return dget(dentry);
}

__rust_helper int rust_helper_kbus_d_unlinked(const struct dentry *dentry)
{
	return d_unlinked(dentry);
}

__rust_helper struct inode *rust_helper_kbus_SOCK_INODE(struct socket *socket)
{
	return SOCK_INODE(socket);
}

__rust_helper const struct cred *rust_helper_kbus_kernel_cred(void)
{
	return kernel_cred();
}

__rust_helper const struct cred *
rust_helper_kbus_override_creds(const struct cred *override_cred)
{
	return override_creds(override_cred);
}

__rust_helper const struct cred *
rust_helper_kbus_revert_creds(const struct cred *revert_cred)
{
	return revert_creds(revert_cred);
}

__rust_helper int rust_helper_kbus_path_permission(const struct path *path,
						   int mask)
{
	return path_permission(path, mask);
}

__rust_helper int
rust_helper_kbus_security_path_mknod(const struct path *dir,
				     struct dentry *dentry, umode_t mode,
				     unsigned int dev)
{
	return security_path_mknod(dir, dentry, mode, dev);
}

__rust_helper vfsuid_t
rust_helper_kbus_i_uid_into_vfsuid(struct mnt_idmap *idmap,
				   const struct inode *inode)
{
	return i_uid_into_vfsuid(idmap, inode);
}

__rust_helper vfsgid_t
rust_helper_kbus_i_gid_into_vfsgid(struct mnt_idmap *idmap,
				   const struct inode *inode)
{
	return i_gid_into_vfsgid(idmap, inode);
}

__rust_helper kuid_t rust_helper_kbus_vfsuid_into_kuid(vfsuid_t vfsuid)
{
	return vfsuid_into_kuid(vfsuid);
}

__rust_helper kgid_t rust_helper_kbus_vfsgid_into_kgid(vfsgid_t vfsgid)
{
	return vfsgid_into_kgid(vfsgid);
}

/* Without security modules these are inline functions. */
__rust_helper int
rust_helper_kbus_security_unix_find(const struct path *path, struct sock *other,
				    int flags)
{
	return security_unix_find(path, other, flags);
}

__rust_helper void
rust_helper_kbus_security_current_getlsmprop_subj(struct lsm_prop *prop)
{
	security_current_getlsmprop_subj(prop);
}

__rust_helper int
rust_helper_kbus_security_lsmprop_to_secctx(struct lsm_prop *prop,
					    struct lsm_context *cp, int lsmid)
{
	return security_lsmprop_to_secctx(prop, cp, lsmid);
}
