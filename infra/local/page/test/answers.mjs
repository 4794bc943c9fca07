// Answers that the tests let the page show.

export const hostileAnswer = `<script>window.pwned = 1</script>

<img src=x onerror="window.pwned=1"> <svg onload="window.pwned=1"></svg> <iframe srcdoc="<script>parent.pwned=1</script>"></iframe>

[script](javascript:window.pwned=1) [data](data:text/html,<script>parent.pwned=1</script>) [tab](java	script:pwned=1) <javascript:pwned=1>

[good](https://example.com/a_b?x=1&y="><img/src=x/onerror=pwned=1>) ![image](https://images.invalid/track.png) https://example.com/$a$

| <img src=x onerror=pwned=1> | b |
| --- | --- |
| \`<b onmouseover=pwned=1>\` | a<br>b |

\`\`\`html" onload="pwned=1
<script>window.pwned = 1</script>
\`\`\`

$\\href{javascript:window.pwned=1}{x}$ $\\includegraphics{https://images.invalid/x.png}$ $\\htmlData{a=b}{y}$ $\\def\\a{\\a\\a}\\a$ $x<img src=x onerror=pwned=1>$

$$\\rule{99999em}{99999em}$$

[ref]: javascript:window.pwned=1
[click][ref] <style>*{display:none}</style> <form action=https://images.invalid><input name=a></form>
`;

export const longAnswer = `## 什么是导数？

**导数**描述的是函数在某一点的*瞬时变化率*。想象你在开车：里程表记录走过的路程 $s(t)$，而**速度表**显示的就是路程对时间的导数 $v(t)=s'(t)$。

**注意：**它不是“走了多少”，而是“**此刻**走得多快”。

### 定义

函数 $f$ 在点 $x_0$ 处的导数定义为极限：

$$
f'(x_0)=\\lim_{h\\to 0}\\frac{f(x_0+h)-f(x_0)}{h}
$$

如果这个极限存在，就说 $f$ 在 $x_0$ 处**可导**。例如 $f(x)=x^2$：

\\[
\\begin{aligned}
f'(x) &= \\lim_{h\\to 0}\\frac{(x+h)^2-x^2}{h} \\\\
      &= \\lim_{h\\to 0}\\frac{2xh+h^2}{h} = 2x
\\end{aligned}
\\]

### 常见导数

| 函数 $f(x)$ | 导数 $f'(x)$ | 说明 |
| --- | --- | --- |
| $x^n$ | $nx^{n-1}$ | 幂法则 |
| $\\sin x$ | $\\cos x$ | 相位提前 $\\frac{\\pi}{2}$ |
| $e^x$ | $e^x$ | 唯一“不变”的函数 |
| $\\ln \\lvert x\\rvert$ | $\\frac{1}{x}$ | 当 $x\\neq 0$ |

### 用数值方法验证

1. 取一个很小的 $h$，比如 \`1e-6\`
2. 用**中心差分**减小误差：
   - 误差量级是 $O(h^2)$
   - 比单侧差分好
3. 和解析解比较

\`\`\`python
def derivative(f, x, h=1e-6):
    """中心差分：误差为 O(h²)。"""
    return (f(x + h) - f(x - h)) / (2 * h)

print(derivative(lambda x: x ** 2, 3.0))  # 约等于 6.0，这一行故意写得很长，用来检查代码块自己横向滚动而不撑破页面
\`\`\`

> 记住一句话：导数就是“放大到足够近以后，曲线看起来像直线时，那条直线的斜率”。

一条很长的公式会自己滚动：

$$1+x+\\frac{x^2}{2!}+\\frac{x^3}{3!}+\\frac{x^4}{4!}+\\frac{x^5}{5!}+\\frac{x^6}{6!}+\\frac{x^7}{7!}+\\frac{x^8}{8!}+\\frac{x^9}{9!}+\\frac{x^{10}}{10!}+\\cdots=e^x$$

一本书卖 $5，两本 $9，这不是公式。化学式：$\\ce{2H2 + O2 -> 2H2O}$。更多内容见 https://zh.wikipedia.org/wiki/导数。想不想试着求一下 $f(x)=x^3$ 的导数？
`;
