// The page's own words in the two languages. Hides which language is shown and where its words sit in the DOM.

const WORDS = {
  zh: {
    title: "Sparkle · 学习对话",
    newChat: "新对话", conversations: "对话", openMenu: "打开对话列表", closeMenu: "关闭对话列表",
    skip: "跳到输入框", language: "Switch to English", languageShort: "EN", theme: "切换深浅色",
    today: "今天", yesterday: "昨天", week: "七天内", earlier: "更早", noConversations: "还没有对话",
    moreConversations: "更多对话", rename: "重命名", remove: "删除", renameLabel: "新名称",
    removeTitle: "删除这个对话？", removeBody: "“{title}”会被永久删除，无法恢复。", cancel: "取消", untitled: "新对话",
    greeting: "今天想弄懂什么？", greetingBody: "问一个概念、一道题，或者贴上你的解法，我们一步一步来。",
    s1: "什么是导数？", s2: "为什么勾股定理只适用于直角三角形？", s3: "光合作用分为哪两个阶段？", s4: "冒泡排序是怎样工作的，为什么比较慢？",
    ask: "输入你的问题…", askLabel: "你的问题", send: "发送", stop: "停止回答", model: "模型",
    modelPrice: "{id} · 输入 {input} · 输出 {output} / 百万 token",
    hint: "Enter 发送，Shift + Enter 换行", bytes: "{used} / {limit} 字节", tooLong: "太长了：{used} / {limit} 字节，请删短一些",
    you: "你的问题", answer: "回答", copy: "复制", copied: "已复制", copyCode: "复制代码", copyFailed: "无法复制，请手动选择", regenerate: "重新回答", good: "答得好", bad: "答得不对",
    toLatest: "回到最新", loadEarlier: "更早的消息", loading: "正在载入…",
    online: "已连接", connecting: "正在连接…", waiting: "未连接，{seconds} 秒后重试", offline: "离线，恢复网络后自动发送", retryNow: "立即重试连接",
    queued: "联网后发送", sending: "正在发送…", unanswered: "还没有送达，正在重试…", discard: "撤回",
    thinking: "正在思考", retrieving: "正在查找资料", generating: "正在回答", tool: "正在使用工具", async_tool: "正在处理任务", agent: "正在分工思考",
    waitingTurn: "已收到，马上开始", stillWorking: "连接中断过，回答仍在生成…", stopping: "正在停止…",
    lost: "还没有取到回答，它可能仍在生成。", checkAgain: "再查一次",
    retry: "重试", retryIn: "{seconds} 秒后可重试", expired: "这条消息存放太久，没有自动发送。",
    cancelled: "已停止", length: "已达长度上限", blocked: "内容被拦截", fromCache: "来自缓存", fromFallback: "备用回答",
    tokensIn: "输入 {n}", cached: "缓存 {n}", tokensOut: "输出 {n}", estimated: "估算", saved: "节省 {n}", firstText: "首字 {s} 秒",
    usageLabel: "用量与费用", started: "正在回答", finished: "回答完成。{text}", failed: "回答失败。{text}",
    gateway: "服务暂时没有响应，消息会自动重试。", oops: "出了点问题，请稍后再试。", unavailable: "现在连不上服务，请稍后再试。",
    tokenFailed: "无法取得登录凭证，正在重试…", dismiss: "关闭", codeBlock: "代码", table: "表格",
    openFailed: "无法载入这个对话。", imageNote: "图片：{alt}",
  },
  en: {
    title: "Sparkle · Learn by talking",
    newChat: "New chat", conversations: "Conversations", openMenu: "Open conversations", closeMenu: "Close conversations",
    skip: "Skip to the message box", language: "切换到中文", languageShort: "中", theme: "Switch light and dark",
    today: "Today", yesterday: "Yesterday", week: "Last seven days", earlier: "Earlier", noConversations: "No conversations yet",
    moreConversations: "More conversations", rename: "Rename", remove: "Delete", renameLabel: "New name",
    removeTitle: "Delete this conversation?", removeBody: "“{title}” will be deleted for good.", cancel: "Cancel", untitled: "New chat",
    greeting: "What would you like to understand?", greetingBody: "Ask about an idea or a problem, or paste your own solution. One step at a time.",
    s1: "What is a derivative, and what does it measure?", s2: "Derive the quadratic formula with me", s3: "Why do seasons happen?", s4: "How does binary search work, and how fast is it?",
    ask: "Ask a question…", askLabel: "Your question", send: "Send", stop: "Stop answering", model: "Model",
    modelPrice: "{id} · {input} in · {output} out / million tokens",
    hint: "Enter to send, Shift + Enter for a new line", bytes: "{used} / {limit} bytes", tooLong: "Too long: {used} / {limit} bytes. Please shorten it",
    you: "Your question", answer: "Answer", copy: "Copy", copied: "Copied", copyCode: "Copy code", copyFailed: "Could not copy, please select by hand", regenerate: "Answer again", good: "Good answer", bad: "Wrong answer",
    toLatest: "Back to latest", loadEarlier: "Earlier messages", loading: "Loading…",
    online: "Connected", connecting: "Connecting…", waiting: "Not connected, retrying in {seconds} s", offline: "Offline. Messages go out once you are back", retryNow: "Retry the connection now",
    queued: "Will be sent when connected", sending: "Sending…", unanswered: "Not delivered yet, trying again…", discard: "Take back",
    thinking: "Thinking", retrieving: "Looking things up", generating: "Answering", tool: "Using a tool", async_tool: "Working on a task", agent: "Thinking in parts",
    waitingTurn: "Received, starting soon", stillWorking: "The connection broke; the answer is still being written…", stopping: "Stopping…",
    lost: "The answer is not here yet. It may still be on its way.", checkAgain: "Check again",
    retry: "Retry", retryIn: "Retry in {seconds} s", expired: "This message waited too long and was not sent by itself.",
    cancelled: "Stopped", length: "Length limit reached", blocked: "Content blocked", fromCache: "From cache", fromFallback: "Fallback answer",
    tokensIn: "{n} in", cached: "{n} cached", tokensOut: "{n} out", estimated: "estimated", saved: "{n} saved", firstText: "first text {s} s",
    usageLabel: "Usage and cost", started: "Answering", finished: "Answer complete. {text}", failed: "The answer failed. {text}",
    gateway: "The service did not respond just now; messages are retried by themselves.", oops: "Something went wrong. Please try again later.", unavailable: "The service cannot be reached right now. Please try again later.",
    tokenFailed: "Could not get a sign-in token, retrying…", dismiss: "Dismiss", codeBlock: "Code", table: "Table",
    openFailed: "This conversation could not be loaded.", imageNote: "Image: {alt}",
  },
};

let language = "zh";

/** The language of the page's words for a browser's preferred ones: "zh" unless the first of the two met is English. */
export function preferredLanguage(languages) {
  for (const tag of languages ?? []) {
    if (/^zh\b/i.test(tag)) return "zh";
    if (/^en\b/i.test(tag)) return "en";
  }
  return "zh";
}

/** Chooses the language of all later `say` calls. */
export function setLanguage(next) {
  language = next in WORDS ? next : "zh";
}

/** "zh" or "en". */
export function currentLanguage() {
  return language;
}

/** The BCP 47 tag of the language, as `chat` frames and the `lang` attribute want it. */
export function languageTag() {
  return language === "zh" ? "zh-CN" : "en";
}

/** The words for `key` with `{name}` places filled. */
export function say(key, values = {}) {
  const words = WORDS[language][key] ?? WORDS.zh[key] ?? key;
  return words.replace(/\{(\w+)\}/g, (place, name) => values[name] ?? place);
}

/** Keys that exist in one language only; the tests want none. */
export function untranslated() {
  const [zh, en] = [Object.keys(WORDS.zh), Object.keys(WORDS.en)];
  return [...zh.filter((key) => !(key in WORDS.en)), ...en.filter((key) => !(key in WORDS.zh))];
}

/**
 * Writes the words into the tree: `data-say` is the text, `data-say-ATTRIBUTE` an attribute
 * (such as `data-say-aria-label="send"`).
 */
export function translate(root) {
  const nodes = root.querySelectorAll("*");
  for (const node of nodes) {
    for (const [name, key] of Object.entries(node.dataset)) {
      if (name === "say") node.textContent = say(key);
      else if (name.startsWith("say")) node.setAttribute(attributeOf(name), say(key));
    }
  }
}

function attributeOf(dataName) {
  const name = dataName.slice(3).replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  return name.replace(/^-/, "");
}
