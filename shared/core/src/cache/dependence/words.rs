//! The word lists: phrases between `|`. Chinese ones are found anywhere, English ones as whole words.

/// Words that hold a word of the lists and are none.
pub(super) const EXEMPT_ZH: &str = "\
    其他 | 其它 | 吉他 | 维他 | 那达慕 | 那不勒斯 | 刹那 | 利他 | 排他 | 马耳他 | 哈他 | \
    安那 | 印第安那 | 现在完成 | 现在进行 | 现在时 | 现在分词 | 继续教育 | 支那 | 自我 | \
    出现在 | 发现在 | 表现在 | 体现在 | 呈现在 | 求另一个 | 随机掷 | 随机抽取 | 随机摸 | 随机变量 | \
    随机事件 | 怎么记住 | 如何记住 | 怎样记住 | 单词记住 | 我国 | 敌我 | 忘我 | 小我 | 大我 | 另外一 | 亚他 | 那曲 | 那拉 | 那英 | 明天的太阳 | \
    当前目录 | 其他的";

/// Phrases that hold a word of the lists and mean nothing by it.
pub(super) const EXEMPT_EN: &str = "\
    does it mean to | does it mean when | \
    does it mean if | it means to | does it feel | does it take | it take | it takes | \
    is it possible | it possible | is it true | is it ok | is it okay | is it safe | \
    is it legal | is it illegal | is it necessary | is it better | is it worth | is it hard | \
    is it easy | is it easier | is it difficult | is it important | is it bad | is it good | \
    is it normal | is it common | is it correct to | is it wrong to | is it healthy | \
    is it harder | is it rude | is it right to | is it like to | is it like being | \
    does it hurt | does it make sense | does it matter | is it too | is it appropriate | \
    will it cost | was it like | making it | to another | is it raining | is it cold | \
    is it called when | is it that | it is possible | it is important | it is true | \
    it's possible | it rains | it rain | does it cost to | make it to | the word it | \
    the word that | the word this | the word these | the word those | the pronoun it | \
    this and that | this vs that | it and its | its and it's | its vs it's | its or it's | \
    another word | another name | another term | another way to | if else | else if | \
    else statement | continue statement | continue keyword | more than | once more | \
    the above ground | random variable | random variables | random forest | random walk | \
    random number generator | random access | random sampling | random error | random sample | \
    now and then | how do you say | likely is it to | one by one | right triangle | right angle | \
    right angled | right-angled | continue vs | vs continue | break and continue | like i'm five | \
    like i am five | like i'm 5 | write the date | say the date | read the date | latest commit | \
    recent commit | recent git commit | first president of | second president of | \
    third president of | 1st president of | 2nd president of | our sun | our earth | our moon | \
    our planet | our galaxy | our solar system | present continuous | his and her | he and she | they're their there | \
    there their they're | i and me | my and mine";

/// What a question about an earlier message says.
pub(super) const CONVERSATION_ZH: &str = "\
    刚才 | 刚刚 | 继续 | 再来 | 再举 | 再说 | 再讲 | 再给 | 再解释 | 再写 | 再出 | 再试 | \
    再问 | 再想 | 再详细 | 再简单 | 再短 | 再长 | 再翻译 | 再算 | 再做 | 另一个 | 另举 | \
    换一 | 换个 | 更详细 | 详细点 | 详细一点 | 详细一些 | 具体点 | 具体一点 | 简单点 | \
    简单一点 | 通俗点 | 还有呢 | 还有吗 | 还有别的 | 还有其他 | 还有哪些 | 然后呢 | 为什么呢 | \
    接着 | 你说 | 你讲 | 你提到 | 你的回答 | 你的答案 | 你给的 | 你写的 | 你举的 | 上次 | \
    上一题 | 上一个 | 上一句话 | 上一步 | 下一题 | 下一个问题 | 第一个例子 | 第二个例子 | \
    第一点 | 第二点 | 第三点 | 这道题 | 本题 | 此题 | 该题 | 原文 | 前者 | 后者 | 我们聊 | \
    我们谈 | 我们说 | 聊天记录 | 对话 | 总结一下我们 | 总结以上 | 重新回答 | 重新说 | 重写一 | \
    改一下 | 修改一下 | 换成 | 没听懂 | 没看懂 | 没懂 | 听不懂 | 看不懂 | 不太懂 | 不太明白 | \
    不对吧 | 你错了 | 答案是什么 | 同样的 | 类似的题 | 类似的例 | 如上 | 同上 | 别的方法 | \
    别的例子 | 这样 | 那样 | 一样吗 | 对吗 | 对不对 | 是吗 | 是不是这";

/// The same in English.
pub(super) const CONVERSATION_EN: &str = "\
    above | previous | previously | earlier | go on | keep going | carry on | again | \
    another | else | you said | you say | you told | you mentioned | you explained | \
    you wrote | you gave | you just | you were | you mean | your answer | your explanation | \
    your example | your last | your solution | your first | your second | our chat | \
    our conversation | our discussion | this conversation | first one | second one | \
    third one | last one | other one | the former | the latter | tell me more | more example | \
    more examples | more detail | more details | more detailed | one more | explain more | \
    some more | any more | elaborate | rephrase | simplify your | in simpler terms | \
    in other words | last time | last question | last answer | next question | next step | \
    next one | what about | how about | same thing | same question | step 1 | \
    step 2 | step 3 | step 4 | step 5 | question 1 | question 2 | question 3 | step one | step two | step three | option a | \
    option b | option c | option d | try harder | not what i | you are wrong | you're wrong | \
    below | follow up | instead . | instead ?";

/// What begins a reply.
pub(super) const BEGINNINGS_ZH: &str = "\
    所以 | 那 | 然后 | 但是 | 但 | 不过 | 可是 | 因此 | 还有 | 另外 | 以及 | 并且 | 而且 | \
    接着 | 于是 | 继续 | 展开 | 好的 | 好吧 | 嗯 | 哦 | 是的 | 对的 | 不是 | 谢谢 | 为啥呢 | \
    或者 | 除此之外 | 除此以外 | 再 | 也就是说 | 换言之 | 还是不 | 我懂了 | 我明白了 | \
    我知道了 | 如果是 | 第一步 | 第二步 | 第三步 | 第四步 | 最后一步 | 第一问 | 第二问 | 第三问 | 第一题 | 第二题 | \
    第三题";

/// The same in English.
pub(super) const BEGINNINGS_EN: &str = "\
    so | and | but | then | also | or | because | however | plus | therefore | continue | \
    yes | no | ok | okay | thanks | thank you | more | well | oh | sure | wait | sorry | \
    right | next | why not | how so | please continue | can you continue | \
    could you continue | i see | i got it | got it | not | maybe | which one";

/// What ends a question that points back.
pub(super) const ENDINGS_EN: &str = "\
    more | too | as well | then | though | either | instead | the question | the problem | \
    the answer | the passage | the text | the sentence | the code | the equation | \
    the example | the solution | the exercise | the paragraph | the article | the same | \
    the difference | in detail | right | correct | in short | one";

/// Whole replies.
pub(super) const REPLIES: &str = "\
    我不知道 | 不太清楚 | 举个例子 | 举一个例子 | 举例说明 | 给个例子 | 举例子 | 总结一下 | \
    翻译一下 | 解释一下 | 怎么理解 | 什么意思 | 怎么做的 | 为什么不 | 怎么算的 | 说人话 | \
    能举例吗 | 可以举例吗 | 有例子吗 | 明白了谢谢 | 非常感谢 | 我不会做 | 不知道啊 | \
    一步一步来 | 帮帮我吧 | 怎么得来的 | 怎么得出的 | 为什么不行 | 请解释一下 | 请举个例子 | \
    能解释一下吗 | 可以解释一下吗 | 能再讲讲吗 | 这是什么 | 答案是多少 | 为什么错了 | \
    哪里错了 | i don't know | i do not know | no idea | not sure | i'm not sure | \
    give an example | give me an example | give me examples | give examples | for example | \
    example please | explain please | please explain | can you explain | could you explain | \
    show me | tell me | help me | can you help | can you help me | why is | how does | \
    what is | good morning | good night | good bye | see you | very good | step by step | \
    show the steps | show your work | show me how | explain why | explain how | \
    what does mean | how do you know | why do you think so | are you sure | i agree | \
    how come | i understand | i don't understand | i do not understand | i don't get | try it | \
    summarize | summarise | what happened | what next | thank you | what do you think | \
    is there a simpler way | any examples | can you give an example | \
    can you give me an example | an example";

/// With one of these a question that ends in 呢 is whole.
pub(super) const QUESTION_WORDS_ZH: &str = "\
    什么 | 怎么 | 为何 | 还是 | 哪 | 谁 | 多少 | 几 | 吗 | 如何 | 怎样 | 是不是 | 有没有 | \
    会不会 | 能不能";

/// Places in a text.
pub(super) const PLACES_ZH: &str = "\
    上面 | 前面 | 之前 | 下面 | 以上 | 以下 | 后面 | 上述 | 下列 | 前文 | 上文 | 下文";

/// What only keeps a talk going.
pub(super) const FILLERS_ZH: &str = "\
    我明白了 | 我知道了 | 我懂了 | 明白 | 知道 | 谢谢 | 好的 | 老师 | 请问 | 解释 | 说明 | \
    告诉我 | 帮我 | 你好 | 您好 | 我想问 | 我想知道 | 一下 | 不懂 | 我不 | 是的 | 没错 | \
    原来如此 | 如果 | 可以 | 能不能 | 能 | 吗 | 请 | 继续 | 同学 | 想问";

/// After these `this` is a time.
pub(super) const DURATIONS_EN: &str = "\
    year | month | week | morning | evening | afternoon | century | season | semester | \
    weekend";

/// Before a `that` that points.
pub(super) const BEFORE_DEICTIC_EN: &str = "\
    . | , | ? | ! | about | of | for | like | with | than | at | does | do | did | is | was | \
    are | explain | understand | mean | to | in | on | from | by | and | why | what | how | \
    can | could | would | will | should | repeat | translate | solve | use | apply | \
    calculate | give | me | but | if | when | where | who | write | read | put | after | \
    before | only | not | just | all | get";

/// What parts clauses.
pub(super) const BOUNDARIES_EN: &str = "\
    , | . | ; | ? | ! | : | and | or | but | when | if | because | since | while | before | \
    after | so | that | until | as | than | where | -";

/// Words that name nothing.
pub(super) const EMPTY_EN: &str = "\
    a | an | the | is | are | was | were | be | do | does | did | can | could | would | \
    should | will | what | why | how | when | where | who | which | i | you | we | me | my | \
    your | please | explain | tell | show | give | help | understand | know | think | say | \
    see | get | got | ok | okay | yes | no | thanks | thank | sure | well | hi | hello | and | \
    or | but | so | if | in | on | at | of | to | for | with | about | by | from | that | it | \
    more | again | not | don't | have | has | had | there | now | then | also | write | \
    describe | define | solve | read | make | use | mean | want | need | try | right | wrong | \
    good | bad | example | question | answer | problem | works | happens | happen | work | \
    correct | great | nice | professor | teacher | sorry | true | possible | as | than";

/// Requests for something new each time.
pub(super) const VARIETY_ZH: &str = "\
    随机 | 随便 | 笑话 | 谜语 | 脑筋急转弯 | 出一道 | 出一题 | 出几道 | 出道题 | 出个题 | \
    出题 | 出一套 | 出些题 | 考考我 | 考我 | 练习题 | 测试我 | 测验我 | 讲个故事 | \
    讲一个故事 | 猜一猜 | 抽一 | 推荐 | 给我一道 | 来一道 | 做游戏 | 玩个游戏 | 冷知识 | \
    绕口令 | 道题目 | 陪我聊";

/// The same in English.
pub(super) const VARIETY_EN: &str = "\
    random | randomly | joke | jokes | riddle | riddles | quiz | test me | surprise me | \
    fun fact | fun facts | tell me something | tell me a story | practice problem | \
    practice problems | practice question | practice questions | practice exercise | \
    practice exercises | give me a problem | give me a question | give me an exercise | \
    exercises | ask me | make up | tongue twister | recommend | play a game | let's play | \
    flip a coin | roll a";

/// Words about time.
pub(super) const MOMENT_ZH: &str = "\
    今天 | 昨天 | 明天 | 后天 | 前天 | 现在 | 目前 | 如今 | 最近 | 最新 | 今年 | 去年 | 明年 | \
    本周 | 这周 | 上周 | 下周 | 本月 | 这个月 | 上个月 | 下个月 | 今晚 | 今早 | 今日 | 此刻 | \
    几点了 | 几点钟 | 几号 | 星期几 | 周几 | 股价 | 股票 | 汇率 | 油价 | 房价 | 金价 | 价格 | \
    新闻 | 热搜 | 比分 | 现任 | 总统是谁 | 首相是谁 | 主席是谁 | 总理是谁 | \
    校长是谁 | 实时 | 当前 | 近期 | 近年 | 这几天 | 截至 | 截止 | 倒计时 | 还有多少天 | 还剩多少天 | 还剩几天 | \
    还有几天 | 热门 | 世界首富 | 人口有多少 | 放假";

/// The same in English.
pub(super) const MOMENT_EN: &str = "\
    today | today's | tonight | yesterday | tomorrow | now | right now | currently | latest | \
    newest | recent | recently | nowadays | these days | this year | this month | this week | \
    this morning | this evening | this afternoon | this century | this season | \
    this semester | this weekend | last year | last month | last week | last night | \
    next year | next month | next week | what time | what's the time | what day is | \
    what date is | the date | stock | stocks | price of | prices | how much is | \
    how much does | how much are | exchange rate | news | is the president | \
    is the prime minister | is the king | is the queen | is the ceo | is the chancellor | \
    is the pope | is the mayor | is the governor | president of | ceo of | so far | \
    up to date | deadline | live score | as of | at present | ago | upcoming | trending | \
    how old is | how many days until | left until | days are left | how long until | richest | population of | world record";

/// With one of these `current` is electric, or of water.
pub(super) const ELECTRIC: &str = "\
    voltage | electric | electrical | alternating | direct | resistance | ocean | circuit | \
    eddy | amp | amps | ampere | amperes | currents | magnetic | resistor | wire | ac | dc";

/// With one of these weather is a subject.
pub(super) const CLIMATE: &str = "\
    climate | 气候 | 区别 | difference | 英语 | 单词 | 怎么说 | 作文 | spell | word | 形成 | \
    符号";

/// With one of these what it comes to is reckoned, and no price of the day.
pub(super) const RECKONED_ZH: &str = "\
    原价 | 单价 | 标价 | 售价 | 折 | 一共 | 总共 | 找回 | 便宜 | 优惠 | 每斤 | 每千克 | 每个 | 每支 | \
    每本";

/// After what is named these point at nothing else.
pub(super) const APPOSITIONS_ZH: &str = "\
    这个 | 这种 | 这句 | 这组 | 这首 | 这部 | 这本 | 这篇 | 这位 | 这些数 | 这几个";

/// With one of these an equation that ends in a question mark is whole.
pub(super) const UNITS: &str = "\
    min | km | cm | mm | dm | kg | mg | ml | ha | mol | pa | hz | ft | lb | oz | sin | cos | tan | \
    cot | log | ln | lg";

/// What asks about who asks.
pub(super) const LEARNER_ZH: &str = "\
    我的 | 我叫 | 我是谁 | 我多大 | 我几岁 | 记住 | 记得我 | 还记得 | 认识我 | 关于我 | \
    适合我 | 我适合 | 我家 | 我妈 | 我爸 | 我们学校 | 我们班 | 我们老师 | 我们家 | 本人 | \
    咱家 | 我该 | 我应该 | 我现在 | 我学过 | 我还没学";

/// The same in English.
pub(super) const LEARNER_EN: &str = "\
    who am i | do you know me | remember | am i | about me | for me to learn | mine | myself | \
    have i | did i | was i | our school | our class | our teacher";

/// What may be anybody's: `my English`.
pub(super) const SKILLS_EN: &str = "\
    english | spanish | french | german | chinese | japanese | korean | maths | math | \
    pronunciation | writing | speaking | listening | reading | vocabulary | grammar | \
    handwriting | memory | spelling | spoken english | written english | \
    short-term memory | changes | edits | pc | laptop | communication skills | english speaking | english writing | skills | concentration | \
    accent | typing speed | coding skills | programming skills | mind | computer | phone";

/// Ways to ask that tell nothing of who asks.
pub(super) const ASKING_ZH: &str = "\
    我想知道 | 我想问 | 我想了解 | 我要怎么 | 我怎么 | 我如何 | 我怎样 | 我能不能 | 我能 | \
    我可以 | 我不懂 | 我不明白 | 我不理解 | 告诉我 | 帮我 | 给我 | 教我 | 让我 | 请我 | 为我 | \
    跟我 | 向我 | 我们 | 我需要 | 我要写 | 我想学 | 帮助我";

/// The same in English.
pub(super) const ASKING_EN: &str = "\
    do i | can i | could i | may i | will i | would i | if i | when i | i want to know | \
    i need to know | i would like to know | i'd like to know | i don't understand | \
    i do not understand | should i | must i | i can | i could | i wonder | might i | shall i | i need a | i need an | i need the";

/// The first person.
pub(super) const SELF_EN: &str = "\
    i | i'm | i've | i'd | i'll | im | ive";
